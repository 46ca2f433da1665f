"""Facts of every picture of two packs against the packs' own lists of sizes and hashes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from medvlp.data.cache import Cache
from medvlp.data.facts import ImageFacts
from medvlp.data.survey import survey_images


def sums(pack: Path) -> dict[str, str]:
    lines = (pack / "SHA256SUMS").read_text().splitlines()
    return {Path(name.strip(" *")).name: sha for sha, name in (line.split(maxsplit=1) for line in lines)}


def facts_of(pack: Path, pattern: str, cache: Path) -> dict[str, ImageFacts]:
    paths = sorted(pack.glob(pattern))
    survey = survey_images(paths, cache=Cache(cache))
    return {path.name: facts for path, facts in zip(paths, survey, strict=True) if facts is not None}


@pytest.mark.parametrize(
    ("name", "pattern", "count", "table", "key"),
    [
        ("nih-cxr14", "images_001/images/*.png", 659, "image_sources.csv", "Image Index"),
        ("covid-cxr", "images/*.jpg", 96, "filename_map.csv", "filename"),
    ],
)
def test_sizes_and_hashes_are_those_of_the_pack(
    pack: Callable[[str], Path], tmp_path: Path, name: str, pattern: str, count: int, table: str, key: str
) -> None:
    root = pack(name)
    found = facts_of(root, pattern, tmp_path / "cache")
    assert len(found) == count
    assert {facts.reason for facts in found.values()} == {""}
    told = sums(root)
    assert {file: facts.sha256 for file, facts in found.items()} == {file: told[file] for file in found}
    with open(root / table, encoding="utf-8", newline="") as handle:
        sizes = {row[key]: (int(row["width"]), int(row["height"])) for row in csv.DictReader(handle)}
    assert {file: (facts.width, facts.height) for file, facts in found.items()} == {f: sizes[f] for f in found}
    if name == "nih-cxr14":  # as the pack's README says
        same = ("00002658_001.png", "00002658_002.png")
        assert len({found[file].pixels for file in same}) == 1
        assert len({facts.pixels for facts in found.values()}) == count - 1

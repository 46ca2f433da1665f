"""``medvlp data curate``: what stays, what is listed, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from medvlp.runs.curate import curate


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    texts = ["No acute cardiopulmonary process."] * 6 + ["A small left effusion.", "Short.", None]
    split = ["train"] * 5 + ["test"] + ["train"] * 3
    manifest = Manifest.of({"id": [f"r{i}" for i in range(9)], "text": texts, "split": split}, root=tmp_path)
    manifest.save(tmp_path / "pool.parquet")
    return tmp_path / "pool.parquet"


def test_what_goes_is_listed_with_its_reason_and_nothing_is_lost(pool: Path, tmp_path: Path) -> None:
    done = curate(pool, tmp_path / "out.parquet", rule="align", options=["max_shared=2"])
    with open(done.listed, encoding="utf-8", newline="") as handle:
        listed = list(csv.DictReader(handle))
    assert {row["id"]: row["reason"] for row in listed if row["id"] in ("r7", "r8")} == {"r7": "short", "r8": "blank"}
    assert done.left_out == {"common_text": 4, "short": 1, "blank": 1}
    kept = Manifest.load(tmp_path / "out.parquet").column("id").tolist()
    assert sorted([*kept, *(row["id"] for row in listed)]) == [f"r{i}" for i in range(9)]
    assert len(kept) == 3


def test_a_part_is_curated_by_its_own_counts_and_the_others_stay(pool: Path, tmp_path: Path) -> None:
    done = curate(pool, tmp_path / "out.parquet", rule="align", options=["max_shared=2"], part="train")
    assert done.left_out == {"common_text": 3, "short": 1, "blank": 1}
    assert "r5" in Manifest.load(tmp_path / "out.parquet").column("id")
    assert done.records == 4


def test_what_one_part_gained_stays_when_another_is_curated(tmp_path: Path) -> None:
    ids, split = [f"r{i}" for i in range(6)], ["train"] * 3 + ["validate"] * 2 + ["test"]
    Manifest.of({"id": ids, "image": ids, "split": split}, root=tmp_path).save(tmp_path / "pool.parquet")
    rows = np.eye(6, dtype=np.float32)
    texts = [f"The {word} lobe is opaque." for word in ("upper", "middle", "lower", "left", "right", "azygos")]
    FeatureTable(ids, {"image/embedding": rows}, {}).save(tmp_path / "i.parquet")
    FeatureTable(ids, {"text/embedding": rows, "text": texts}, {}).save(tmp_path / "s.parquet")
    options = [f"images={tmp_path / 'i.parquet'}", f"sentences={tmp_path / 's.parquet'}", "nearest=1"]
    options += ["image_clusters=1", "sentence_clusters=1"]
    first, second, again = (tmp_path / f"{name}.parquet" for name in ("first", "second", "again"))
    curate(tmp_path / "pool.parquet", first, rule="realsyn", options=options, part="train")
    curate(first, second, rule="realsyn", options=options, part="validate")
    assert Manifest.load(first).column("text.retrieved1").tolist() == [*texts[:3], None, None, None]
    assert Manifest.load(second).column("text.retrieved1").tolist() == [*texts[:5], None]
    FeatureTable(ids, {"text/embedding": rows, "text": texts[::-1]}, {}).save(tmp_path / "s.parquet")
    curate(second, again, rule="realsyn", options=options, part="train")
    assert Manifest.load(again).column("text.retrieved1").tolist() == [*texts[:2:-1], *texts[3:5], None]


@pytest.mark.parametrize("rule", ["align", "metaclip", pytest.param("realsyn", marks=pytest.mark.slow), "semdedup"])
def test_files_are_the_same_bytes_for_any_chunks_and_processes(
    rule: str, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["A small left effusion is seen.", "The right hilum is enlarged.", "The heart is of normal size."]
    rows = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    FeatureTable([f"r{i}" for i in range(8)], {"image/embedding": rows}, {}).save(tmp_path / "i.parquet")
    FeatureTable(["a", "b", "c"], {"text/embedding": rows[:3], "text": texts}, {}).save(tmp_path / "s.parquet")
    files = [f"images={tmp_path / 'i.parquet'}", f"sentences={tmp_path / 's.parquet'}", "cap=2", "image_clusters=3"]
    options = {"align": ["max_shared=2", "min_words=2"], "metaclip": ["cap=1", "without=true"], "realsyn": files}
    options = {**options, "semdedup": [files[0], "similarity=0.3"]}[rule]

    def made(chunk: int, workers: int, group: int = 1 << 17) -> tuple[bytes, bytes]:
        monkeypatch.setattr("medvlp.runs.curate._CHUNK", chunk)
        monkeypatch.setattr("medvlp.data._groups.GROUP", group)
        done = curate(pool, tmp_path / "out.parquet", rule=rule, options=options, part="train", workers=workers)
        return (tmp_path / "out.parquet").read_bytes(), done.listed.read_bytes()

    whole = made(9, 0)
    assert b"," in whole[1].splitlines()[-1]
    assert [made(1, 0), made(2, 2), made(4, 0)] == [whole] * 3
    assert made(1, 0, group=2) == made(9, 0, group=2)
    grouped = Manifest.load(tmp_path / "out.parquet").hash
    made(9, 0)
    assert Manifest.load(tmp_path / "out.parquet").hash == grouped


def test_mistakes_are_one_sentence(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_sharde"):
        curate(pool, tmp_path / "out.parquet", rule="align", options=["max_sharde=2"])
    with pytest.raises(DataError, match="has no split 'trian': did you mean 'train'"):
        curate(pool, tmp_path / "out.parquet", rule="align", part="trian")
    with pytest.raises(DataError, match=r"leaves no record of .*pool\.parquet \(1 blank, 8 short\): give"):
        curate(pool, tmp_path / "out.parquet", rule="align", options=["min_words=50"])
    Manifest.of({"id": ["a"], "image": ["a.png"]}, root=tmp_path).save(tmp_path / "bare.parquet")
    with pytest.raises(DataError, match="has no column 'text'"):
        curate(tmp_path / "bare.parquet", tmp_path / "out.parquet", rule="metaclip")
    assert not (tmp_path / "out.parquet").exists()

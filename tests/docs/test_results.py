"""Pages of results are what their stored numbers render, and no number on them stands anywhere else."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from statistics import mean
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "docs" / "results").glob("*.json"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_and_the_readmes_table_equal_what_their_numbers_render() -> None:
    rendered = load(ROOT / "docs" / "_make" / "results.py").pages()
    written = {path.with_suffix(".md") for path in RESULTS} | {ROOT / "README.md"}
    assert set(rendered) == written == set((ROOT / "docs" / "results").glob("*.md")) | {ROOT / "README.md"}
    different = [path.name for path, text in rendered.items() if path.read_text(encoding="utf-8") != text]
    assert different == [], "run: python docs/_make/results.py"


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "_make" / "results").glob("*.j2")), ids=lambda path: path.name)
def test_templates_hold_no_number_of_their_own(path: Path) -> None:
    text = re.sub(r"\{[{%#].*?[#%}]\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|ChestX-ray14", "", text)
    assert re.findall(r".*\d.*", text) == []


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_stored_numbers_say_what_measured_them_and_on_what(path: Path) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert {"title", "benchmark", "command", "n", "seed", "versions"} <= set(stored)
    scripts = stored["benchmark"] or []
    for script in [scripts] if isinstance(scripts, str) else scripts:
        assert (ROOT / script).is_file()
    assert stored["n"]
    if path.stem in ("speed", "scaling", "reading_room"):  # seconds and bytes are a machine's
        assert "machine" in stored
    for row in intervals(stored):
        assert row["low"] <= row["value"] <= row["high"]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_numbers_of_synthetic_patients_say_that_they_are(path: Path) -> None:
    page = path.with_suffix(".md").read_text(encoding="utf-8").lower()
    timed = path.stem == "speed"  # seconds are those of any picture
    assert timed or not re.search("phantom|quick start", page.replace("no phantoms", "")) or "synthetic" in page


def test_the_extra_bench_brings_all_that_the_page_of_speed_stands_beside() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = {
        re.split(r"[^\w-]", each)[0] for each in [*project["dependencies"], *project["optional-dependencies"]["bench"]]
    }
    versions = json.loads((ROOT / "docs/results/speed.json").read_text(encoding="utf-8"))["versions"]
    assert {"lightly", "clip-benchmark", "openvino"} <= versions.keys() <= brought


def test_the_picture_of_speed_has_the_rows_of_its_page() -> None:
    tables = json.loads((ROOT / "docs/results/speed.json").read_text(encoding="utf-8"))["tables"]
    names = [name for name, *_ in load(ROOT / "docs" / "_make" / "plots.py").ratios(tables)]
    drawn = (ROOT / "docs/assets/speed.svg").read_text(encoding="utf-8")
    assert [name for name in names if f">{name}</text>" not in drawn] == [], "run: python docs/_make/plots.py"
    assert len(names) == 2 * len(tables["loss"]["rows"]) + sum(
        len(tables[t]["rows"]) for t in ("losses", "tower", "search")
    )


def test_the_picture_of_the_comparison_has_the_methods_of_its_page_and_the_means_of_its_table() -> None:
    stored = json.loads((ROOT / "docs/results/comparison.json").read_text(encoding="utf-8"))
    found = load(ROOT / "docs" / "_make" / "plots.py").differences(stored)
    drawn = (ROOT / "docs/assets/comparison.svg").read_text(encoding="utf-8")
    assert [name for name in found if f">{name}</text>" not in drawn] == [], "run: python docs/_make/plots.py"
    columns = stored["tables"]["beside"]["columns"]
    for method, *row in stored["tables"]["beside"]["rows"]:
        told = dict(zip(columns[1:], row, strict=True))
        shown = {"zero-shot AUROC": "zero shot auroc macro", "left of right, AUROC": "laterality auroc left of right"}
        for name, column in shown.items():
            assert told[column].startswith(f"{mean(found[method][name]):+.3f}")


def intervals(node: object) -> list[dict[str, float]]:
    if isinstance(node, list):
        return [row for item in node for row in intervals(item)]
    if not isinstance(node, dict):
        return []
    return ([node] if "low" in node else []) + [row for item in node.values() for row in intervals(item)]

"""The comparison of methods grows from the finished cells of sweeps, and its page says what is stored."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from medvlp.core.errors import UserError
from medvlp.evaluation.results import ConfidenceInterval, Counts, Metric, Result
from medvlp.runs.grid.sweep import load_sweep
from tests.benchmarks.comparison import FILMS, document, finished_cells, hashes, judged, merge, missing, write
from tests.docs.test_results import ROOT, load
from tests.finished import finish
from tests.tiny import tiny_tree, write_tree

REPORT = [
    {"result": "zero_shot", "metric": "auroc", "label": "macro"},
    {"result": "grounding_hires_cam", "metric": "pointing_game", "label": "all"},
]
AREA, HITS = "zero_shot auroc macro (test)", "grounding_hires_cam pointing_game all (test)"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three methods and seeds; the hospital is not looked at."""
    write_tree(tmp_path / "base.yaml", tiny_tree(tmp_path / "none", tmp_path / "hospital", tmp_path / "cache"))
    methods = [{"label": "CLIP"}]
    for at, label in enumerate(("b's method", "DCL")):
        write_tree(tmp_path / f"{at}.yaml", {"base": "base.yaml", "optimiser": {"rate": 0.1 + at}})
        methods.append({"label": label, "config": f"{at}.yaml"})
    tree = {"base": "base.yaml", "axes": {"method": methods}, "seeds": [0, 1, 2], "report": REPORT}
    return write_tree(tmp_path / "s.yaml", {**tree, "reference": {"method": "CLIP"}})


def outcome(name: str, metric: str, label: str, value: float) -> Result:
    interval = ConfidenceInterval(low=value - 0.1, high=value + 0.1)
    row = Metric(metric=metric, label=label, value=value, counts=Counts(n=40, patients=30), interval=interval)
    return Result(name=name, recipe="r", data="d", metrics=(row,))


def results(area: float, hits: float = 0.5) -> list[Result]:
    given = (("grounding_hires_cam", "pointing_game", "all", hits), ("grounding_centre", "pointing_game", "all", 0.25))
    return [outcome("zero_shot", "auroc", "macro", area), *(outcome(*each) for each in given)]


def cells(sweep: Path, areas: dict[tuple[str, int], float], *words: str) -> list[dict[str, Any]]:
    out = sweep.parent / "out"
    for cell in load_sweep(sweep, words, out=out).cells:
        for run in cell.runs:
            if (cell.labels["method"], run.seed) in areas:
                finish(run, *results(areas[cell.labels["method"], run.seed]))
    return finished_cells(sweep, words, out)


def page(sweep: Path, stored: list[dict[str, Any]]) -> str:
    rendering = load(ROOT / "docs" / "_make" / "results.py")
    return rendering._render("comparison.md.j2", document(stored, sweep), name="comparison")


def test_finished_cells_are_merged_once_and_another_configuration_replaces_its_own(sweep: Path) -> None:
    first = cells(sweep, {("CLIP", 0): 0.7, ("DCL", 0): 0.8})
    stored, said = merge([], first)
    assert said == ["CLIP, seed 0: added.", "DCL, seed 0: added."]
    assert [cell["numbers"][AREA]["value"] for cell in stored] == [0.7, 0.8]
    assert stored[1]["numbers"][HITS] == {"value": 0.5, "n": 40, "interval": [0.4, 0.6], "control": 0.25}
    facts = {name: stored[0][name] for name in ("n", "samples", "wall_seconds", "peak_memory_mb")}
    assert facts == {"n": 40, "samples": 64, "wall_seconds": 90.0, "peak_memory_mb": 700.0}
    assert merge(stored, first) == (stored, [])
    # The hospital may lie elsewhere; what is learned or measured may not differ.
    assert hashes(sweep, ["data.root=elsewhere"]) == hashes(sweep)
    words = [f"{key}=elsewhere" for key in ("data.root", "init_from", "tokenizer.path", "model.text.path")]
    assert hashes(FILMS, words) == hashes(FILMS) != hashes(FILMS, ["training.batch=32"])
    changed = cells(sweep, {("DCL", 0): 0.9}, "evaluation.resamples=120")
    again, said = merge(stored, changed)
    assert said == [f"DCL, seed 0: replaced, its configuration was {stored[1]['hash']} and is {again[1]['hash']}."]
    assert again == [stored[0], *changed]
    with pytest.raises(UserError, match=r"^The cells have several samples \(.*\): compare on one, or begin anew\.$"):
        merge(stored, cells(sweep, {("DCL", 0): 0.9}, "phases.0.until=32"))


def test_cells_are_of_one_hospital_where_the_same_patients_are_judged_by_the_same_labels() -> None:
    one = replace(outcome("zero_shot", "auroc", "effusion", 0.7), split="s")
    assert judged(replace(one, data="a column more")) == judged(one)  # CXR-CLIP pairs each film with the next
    fewer = replace(one.metrics[0], counts=Counts(n=39, patients=30))
    mean = replace(fewer, label="macro")  # of which n may be another's
    assert judged(replace(one, metrics=(*one.metrics, mean))) == judged(one)
    assert len({judged(each) for each in (one, replace(one, split="t"), replace(one, metrics=(fewer,)))}) == 3


def test_the_words_for_what_is_missing_lay_out_these_cells_and_no_others(sweep: Path) -> None:
    stored = cells(sweep, {("CLIP", 0): 0.7, ("DCL", 0): 0.8, ("b's method", 1): 0.8})
    assert stored[1]["method"] == "b's method"
    stored[1]["hash"] = "of another configuration"
    lines = missing(stored, hashes(sweep))
    asked = [
        (cell.labels["method"], run.seed)
        for line in lines
        for cell in load_sweep(sweep, shlex.split(line), out=sweep.parent).cells
        for run in cell.runs
    ]
    assert len(lines) == 3
    assert len(asked) == len(set(asked)) == 7
    assert set(asked) == set(hashes(sweep)) - {("CLIP", 0), ("DCL", 0)}


def test_with_one_seed_the_page_has_intervals_over_patients_and_says_that_it_has_none_over_seeds(sweep: Path) -> None:
    stored = cells(sweep, {("CLIP", 0): 0.7, ("DCL", 0): 0.8})
    text = page(sweep, stored)
    assert document(stored, sweep)["gains"] == {}
    assert "0 of them with every seed; not yet: b's method." in " ".join(text.split())
    assert "| b's method |" not in text
    assert "| CLIP | 1 of 3 | 40 | 0.700 (0.600 to 0.800) | 0.500 (0.400 to 0.600); 0.250 | 90 | 700 |" in text
    assert "| DCL | +0.100 | +0.000 |" in text
    assert "With one seed there is no interval over seeds and no p" in text
    assert "synthetic" in text
    assert "in\nbfloat16, with" in text


def test_with_seeds_the_page_has_their_spread_and_paired_differences_corrected_together(sweep: Path) -> None:
    areas = {("CLIP", seed): area for seed, area in enumerate((0.70, 0.72, 0.71))}
    areas |= {("DCL", seed): area for seed, area in enumerate((0.80, 0.84, 0.80))}
    areas |= {("b's method", seed): area for seed, area in enumerate((0.69, 0.75, 0.70))}
    stored = cells(sweep, areas)
    text = page(sweep, stored)
    rows = re.findall(r"^\| (b's method|CLIP|DCL) \| 3 of 3", text, re.MULTILINE)
    assert rows == ["b's method", "CLIP", "DCL"]
    assert "| CLIP | 3 of 3 | 40 | 0.710 ± 0.010 | 0.500 ± 0.000; 0.250 |" in text
    apart = np.array([0.10, 0.12, 0.09])
    error = apart.std(ddof=1) / np.sqrt(3)
    low, high = apart.mean() + np.array([-1, 1]) * student.ppf(0.975, 2) * error
    p = 2 * 2 * student.sf(apart.mean() / error, 2)  # the smaller of two
    assert f"| DCL | +0.103 ({low:+.3f} to {high:+.3f}), p {p:.3f} | +0.000 |" in text
    assert document(stored, sweep)["gains"] == {"compare/0.yaml": 0.00333, "compare/1.yaml": 0.10333}


def test_what_is_written_is_the_document_with_a_line_a_cell(sweep: Path, tmp_path: Path) -> None:
    made = document(cells(sweep, {("CLIP", 0): 0.7, ("DCL", 1): 0.8}), sweep)
    write(made, tmp_path / "comparison.json")
    text = (tmp_path / "comparison.json").read_text(encoding="utf-8")
    assert json.loads(text) == made
    assert [line.startswith('  {"method"') for line in text.splitlines()].count(True) == 2

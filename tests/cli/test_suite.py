"""``medvlp evaluate SUITE.yaml`` end to end on the tiny hospital: left out, failing, going on, judged anew, page."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from medvlp.core.files import read_json
from medvlp.evaluation.results import load_result
from medvlp.evaluation.suite import load_suite_table
from tests.tiny import write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained
    from tests.cli.conftest import Ran

REPORT = [
    {"result": "zero_shot", "metric": "auroc", "label": "macro", "usual": True},
    {"result": "zero_shot_airless", "metric": "auroc", "label": "macro"},
    {"result": "retrieval", "metric": "recall@1", "label": "image_to_report"},
    {"result": "retrieval", "metric": "recall@77", "label": "image_to_report"},
]


def write_suite(folder: Path, run: Trained, hospital: Path, **keys: Any) -> Path:
    measures: dict[str, Any] = dict.fromkeys(("probes", "sentences", "prompt_sensitivity", "grounding"))
    measures["classification"] = {"label_sets": {"airless": ["atelectasis", "consolidation", "hernia"]}}
    fast = {"resamples": 100, "min_positives": 1, "gallery": 0, "split": "train", "measures": measures}
    data = {"root": str(folder / "nowhere"), "layout": "phantom", "allow_leaks": True}
    one = {"model": "x", "out": "y", "data": data, "evaluation": fast}
    write_tree(folder / "one.yaml", {**one, "report": REPORT})
    runs = [
        {"config": "one.yaml", "name": "frontal", "overrides": {"data.where": {"view_position": ["PA", "AP"]}}},
        {"config": "one.yaml", "name": "nobody", "overrides": {"data.where": {"view_position": ["XX"]}}},
        {"config": "one.yaml", "name": "absent"},
    ]
    roots = {"frontal": str(hospital), "nobody": str(hospital)}
    tree = {"model": str(run.bundle), "out": str(folder / "out"), "name": "Tiny", "roots": roots, "runs": runs, **keys}
    return write_tree(folder / "suite.yaml", tree)


def moments(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_what_is_judged_is_kept_what_failed_is_tried_again_and_other_data_or_options_are_judged_anew(
    cli: Callable[..., Ran], tiny_cohort: CohortSummary, tiny_run: Trained, tmp_path: Path
) -> None:
    hospital = tmp_path / "hospital"
    shutil.copytree(tiny_cohort.root, hospital)
    config = write_suite(tmp_path, tiny_run, hospital)
    out = tmp_path / "out"
    ran = cli("evaluate", config)
    assert ran.code == 1, ran
    assert "3 runs: 1 without data, 0 finished before, 2 to do.\n" in ran.out
    assert "Left out, absent: its data is not there: there is no folder" in ran.err
    assert "give roots.absent=FOLDER." in ran.err
    assert ran.err.splitlines()[-1].startswith("medvlp: 1 of 3 runs failed: mend what is said above and start the same")
    reason = str(read_json(out / "nobody" / "suite.json")["failed"])
    assert "no record left where view_position" in reason
    assert reason in (out / "nobody" / "suite.log").read_text()

    # The table's numbers are those of the results files, and what nobody measured is not there.
    suite = load_suite_table(out / "table.json")
    assert [(line.name, line.state) for line in suite.lines] == [
        ("frontal", "finished"),
        ("nobody", "failed"),
        ("absent", "not begun"),
    ]
    assert suite.synthetic
    results = {name: load_result(out / "frontal" / "results" / f"{name}.json") for name in ("zero_shot", "retrieval")}
    asked = {(each.wanted.result, each.wanted.metric): each.row for each in suite.numbers}
    assert asked["zero_shot", "auroc"] == results["zero_shot"].find("auroc", "macro", split="train")
    assert asked["retrieval", "recall@1"] == results["retrieval"].find("recall@1", "image_to_report")
    assert asked["retrieval", "recall@77"] is None
    assert suite.lines[0].data == results["zero_shot"].data
    some = load_result(out / "frontal" / "results" / "zero_shot_airless.json")
    assert {row.label for row in some.metrics} - {"macro", "weighted", "micro"} == {"atelectasis", "consolidation"}
    assert "airless is of 3 findings, of which 1 are missing: hernia." in some.caveats
    for name in ("table.html", "table.md", "table.csv"):
        text = (out / name).read_text()
        assert f"{asked['zero_shot', 'auroc'].value:.3f}" in text or name == "table.csv"  # type: ignore[union-attr]
    page = (out / "table.html").read_text()
    assert "not measured" in page
    assert "there is no folder" in page
    assert "http" not in page.replace("http-equiv", "")

    # Again: only what failed is tried again.
    before = moments(out / "frontal")
    again = cli("evaluate", config)
    assert "3 runs: 1 without data, 1 finished before, 1 to do.\n" in again.out
    assert moments(out / "frontal") == before
    # Other options of the bootstrap are other numbers.
    only = "runs=[{config: one.yaml, name: frontal, overrides: {data.where: {view_position: [PA, AP]}}}]"
    roots = f"roots={{frontal: {hospital}}}"
    assert "0 finished before, 1 to do" in cli("evaluate", config, only, roots, "evaluation.resamples=120").out
    assert "1 finished before, 0 to do" in cli("evaluate", config, only, roots, "evaluation.resamples=120").out
    # Other data behind the same configuration is noticed.
    reports = hospital / "reports.csv"
    reports.write_text(reports.read_text().replace("IMPRESSION", "Impression", 1))
    changed = cli("evaluate", config, only, roots, "evaluation.resamples=120")
    assert changed.code == 0, changed
    assert "frontal: its data changed since it was judged; it is judged again.\n" in changed.out
    # The page is drawn again from what is kept.
    drawn = cli("report", out, "--out", tmp_path / "again.html")
    assert drawn.code == 0, drawn
    assert (tmp_path / "again.html").read_text() == (out / "table.html").read_text()


@pytest.mark.slow
def test_published_numbers_stand_beside_those_of_the_bundle_that_claims_to_be_the_model(
    cli: Callable[..., Ran], tiny_cohort: CohortSummary, tiny_run: Trained, tmp_path: Path
) -> None:
    """The phantom has no publications: the run borrows the card of a data set that has, by naming its split."""
    config = write_suite(tmp_path, tiny_run, tiny_cohort.root)
    tree = json.loads(json.dumps({"split": {"name": "official", "card": "nih_chestxray14"}}))
    only = f"runs=[{{config: one.yaml, name: frontal, overrides: {{data.split: {json.dumps(tree['split'])}}}}}]"
    ran = cli("evaluate", config, only, f"roots={{frontal: {tiny_cohort.root}}}", "reproduces=medklip")
    assert ran.code == 0, ran
    rows = load_suite_table(tmp_path / "out" / "table.json").published
    ours = {row.model: row.claim.ours for row in rows}
    assert {"medklip", "mavl", "kad", "chexzero"} <= set(ours)
    assert [model for model, own in ours.items() if own is not None] == ["medklip"]
    own = ours["medklip"]
    assert own is not None
    stored = load_result(tmp_path / "out" / own.results)
    assert own.value == stored.find("auroc", "macro", split="train").value
    page = (tmp_path / "out" / "table.html").read_text()
    assert "MediaBrain-SJTU/MedKLIP issue 12" in page


@pytest.mark.slow
def test_two_suites_do_not_work_in_one_folder(
    cli: Callable[..., Ran], tiny_cohort: CohortSummary, tiny_run: Trained, tmp_path: Path
) -> None:
    config = write_suite(tmp_path, tiny_run, tiny_cohort.root)
    (tmp_path / "out").mkdir()
    descriptor = os.open(tmp_path / "out" / ".lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert cli("evaluate", config).refused() == (
            f"medvlp: Another suite is at work in {tmp_path / 'out'}: wait for it, or choose another out."
        )
    finally:
        os.close(descriptor)


def test_without_any_data_the_suite_says_what_to_give(
    cli: Callable[..., Ran], tiny_run: Trained, tmp_path: Path
) -> None:
    config = write_suite(tmp_path, tiny_run, tmp_path / "none")
    ran = cli("evaluate", config)
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == (
        "medvlp: No data set of this suite is there: say where one lies, roots.NAME=FOLDER."
    )

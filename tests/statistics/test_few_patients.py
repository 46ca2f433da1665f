"""Below five patients of a class there is a number and no interval; means are over the same findings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.detection import CaseBoxes, ap_rows
from medvlp.evaluation.metric_row import mean_metric
from medvlp.evaluation.results import Result, write_result
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions
from medvlp.evaluation.tables import comparison_table, score_table, to_latex, to_markdown
from medvlp.pages.facts import facts_of
from medvlp.pages.forest import control_forest, dimensions, finding_forest
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.render import render_report
from medvlp.pages.summary import summary_of, tiles_of


def table(positive: dict[str, int], rows: int = 200, seed: int = 0) -> pd.DataFrame:
    """One image a patient; so many positives of each finding in either split."""
    generator = np.random.default_rng(seed)
    made = pd.DataFrame({"id": range(2 * rows), "patient_id": range(2 * rows)})
    made["split"] = np.repeat(["validate", "test"], rows)
    for name, count in positive.items():
        label = np.tile(np.arange(rows) < count, 2).astype(float)
        made[f"label:{name}"] = label
        made[f"score:{name}"] = 1 / (1 + np.exp(-(1.5 * label - 1 + generator.normal(size=2 * rows))))
    return made


@pytest.fixture(scope="module")
def scored() -> Result:
    options = ScoreOptions(resamples=40, seed=1, points=("youden",))
    return score_predictions(table({"common": 60, "five": 5, "four": 4}), options=options)


PLATT, YOUDEN = {"calibration": "platt"}, {"operating_point": "youden"}
BOOTSTRAPPED = (("auroc", {}), ("average_precision", {}), ("f1", YOUDEN), ("brier", PLATT), ("ece", PLATT))
BOOTSTRAPPED += (("calibration_slope", PLATT),)


@pytest.mark.parametrize(("metric", "place"), BOOTSTRAPPED)
def test_four_positive_patients_have_a_number_and_no_interval(scored: Result, metric: str, place: dict) -> None:
    four, five = (scored.find(metric, name, split="test", **place) for name in ("four", "five"))
    assert four.value is not None
    assert (four.interval.low, four.interval.high, four.interval.method, four.reason) == (
        None,
        None,
        "none",
        "too_few_positives",
    )
    assert five.interval.low is not None
    assert five.reason == "few_positives"


@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("people", [1, 2, 4])
def test_a_calibration_line_of_few_patients_is_not_tested_and_spoils_no_other(
    tmp_path: Path, people: int, probabilities: bool
) -> None:
    rows = table({"edema": 20, "fracture": 4}, rows=80)
    known = np.isin(np.arange(160) % 80, (0, 1, 2, 3, 44, 45, 46, 47))
    rows.loc[~known, "label:fracture"] = np.nan
    rows["score:fracture"] = np.tile([0.7, 0.2, 0.8, 0.4, 0.3, 0.6, 0.1, 0.5], 20)
    rows.loc[known, "patient_id"] = 1000 * (rows.index[known] // 80) + rows.index[known] % people
    found = score_predictions(rows, options=ScoreOptions(resamples=20, probabilities=probabilities, min_group=2))
    name = "none" if probabilities else "platt"
    slope = found.find("calibration_slope", "fracture", split="test", calibration=name)
    assert slope.value is not None
    assert (slope.test.p, slope.interval.low, slope.interval.method) == (None, None, "none")
    edema = found.find("calibration_slope", "edema", split="test", calibration=name)
    assert edema.test.p is not None
    assert edema.interval.low is not None
    tested = [row for row in found.metrics if row.metric == "miscalibration_test"]
    assert [row.label for row in tested] == ["edema"]
    write_result(found, tmp_path / "results.json")


@pytest.mark.filterwarnings("error")
def test_a_calibration_line_of_four_cases_has_no_interval_and_no_warning_of_numpy() -> None:
    rows = pd.DataFrame({"id": range(8), "patient_id": range(8), "split": ["validate"] * 4 + ["test"] * 4})
    rows["label:effusion"], rows["score:effusion"] = [0, 0, 1, 1] * 2, [0.1, 0.4, 0.35, 0.8] * 2
    found = score_predictions(rows, options=ScoreOptions(resamples=0))
    slope = found.find("calibration_slope", "effusion", split="test", calibration="dirichlet")
    assert (slope.interval.low, slope.interval.method) == (None, "none")


def test_a_share_of_four_keeps_wilsons_interval_which_holds_there(scored: Result) -> None:
    row = scored.find("sensitivity", "four", split="test", operating_point="youden")
    assert (row.counts.n, row.interval.method, row.reason) == (200, "wilson", "few_positives")
    assert row.interval.low is not None


def test_a_mean_over_a_rare_finding_says_so_and_min_positives_leaves_it_out() -> None:
    rows = table({"common": 60, "four": 4})
    plain = evaluate_scores(rows[rows["split"] == "test"], seed=0, resamples=40)
    assert plain.find("auroc", "macro").reason == "rare_findings"
    kept = evaluate_scores(rows[rows["split"] == "test"], seed=0, resamples=40, min_positives=5)
    assert (kept.find("auroc", "macro").reason, kept.find("auroc", "macro").counts.labels_used) == (None, 1)
    four = evaluate_scores(rows[rows["split"] == "test"], seed=0, resamples=0, min_positives=4)
    assert four.find("auroc", "macro").counts.labels_used == 2  # so many are enough
    none = evaluate_scores(rows[rows["split"] == "test"], seed=0, resamples=30, min_positives=99)
    assert none.find("auroc", "macro").reason == "none_large_enough"


def test_two_results_are_not_compared_on_four_patients(scored: Result) -> None:
    other = score_predictions(
        table({"common": 60, "five": 5, "four": 4}, seed=5), options=ScoreOptions(resamples=40, points=("youden",))
    )
    found = compare_results(scored, other, resamples=40)
    four, five = (found.find("auroc_difference", name) for name in ("four", "five"))
    assert (four.interval.low, four.test.p, four.reason) == (None, None, "too_few_positives")
    assert four.value is not None
    assert five.test.p is not None


def test_a_headline_of_too_few_patients_says_that_it_has_no_interval() -> None:
    result = score_predictions(table({"four": 4}), options=ScoreOptions(resamples=40))
    assert "(too few patients for an interval) over 1 finding, on " in summary_of([result])
    tiles = tiles_of([result])
    assert "Macro average precision" in [each.name for each in tiles]
    assert all(each.uncertainty or each.against.endswith("; too few patients for an interval") for each in tiles)
    control = replace(result, name="thumbnail", title="Control", role="control")
    assert "(no interval) over 1 finding." in render_report(ReportInputs(title="a", results=(result, control)))


def test_a_headline_is_of_no_finding_below_min_positives() -> None:
    rows = table({"common": 60, "also": 50, "rare": 12})
    rows["score:rare"] = 1 - rows["score:rare"]  # far the lowest
    options = ScoreOptions(resamples=30, seed=0)
    weakest = [tile for tile in tiles_of([score_predictions(rows, options=options)]) if "Weakest finding" in tile.name]
    assert "rare" in weakest[0].name
    fewer = score_predictions(rows, options=replace(options, min_positives=30))
    named = [tile.name for tile in tiles_of([fewer]) if "Weakest finding" in tile.name]
    assert len(named) == 1
    assert "rare" not in named[0]


def test_a_groups_mean_stands_by_everybodys_over_the_same_findings() -> None:
    rows = table({"common": 60, "some": 40})
    rows = rows[rows["split"] == "test"].drop(columns="split").reset_index(drop=True)
    # The south has all but five of the positives of one finding: too few for a number in the north.
    south = (rows["label:some"] == 1).to_numpy() & (np.arange(len(rows)) >= 5)
    south |= np.arange(len(rows)) % 2 == 1
    rows["group:site"] = np.where(south, "south", "north")
    result = evaluate_scores(rows, seed=0, resamples=30)
    north, south_row = (result.find("auroc", "macro", group=f"site={name}") for name in ("north", "south"))
    assert (north.counts.labels_used, south_row.counts.labels_used) == (1, 2)
    alike = result.find("auroc_alike", "macro", group="site=north")
    assert (alike.value, alike.interval.low) == (
        result.find("auroc", "common").value,
        pytest.approx(alike.interval.low),
    )
    assert (alike.counts.labels_used, alike.counts.n) == (1, len(rows))
    assert not [row for row in result.metrics if row.metric == "auroc_alike" and row.group == "site=south"]
    assert north.counts.n == int((~south).sum())
    forest = control_forest(result, "site")
    marks = {row.name: [mark.value for mark in row.marks] for row in forest.rows}
    assert marks["north"] == [f"{north.value:.3f}", f"{alike.value:.3f}"]
    assert len(marks["south"]) == len(marks["everybody"]) == 1
    assert [words for _, words in forest.legend] == ["of the group", "of everybody, over the same findings"]


def test_a_group_without_a_mean_says_how_many_cases_it_has() -> None:
    rows = table({"common": 60})
    rows["group:view"] = np.where(np.arange(len(rows)) % 2, "PA", "AP")
    rows.loc[rows["group:view"] == "PA", "label:common"] = 0.0
    result = evaluate_scores(rows.drop(columns="split"), seed=0, resamples=0, min_positives=30)
    pa = next(row for row in control_forest(result, "view").rows if row.name == "PA")
    assert (pa.cases, pa.note) == ("200 cases", "no finding has both classes")


def test_a_site_of_validation_alone_does_not_stand_beside_those_of_the_test_split() -> None:
    rows = table({"common": 60})
    validate = (rows["split"] == "validate").to_numpy()
    rows["group:site"] = np.where(validate, "own", np.where(np.arange(len(rows)) % 4 < 2, "north", "south"))
    result = score_predictions(rows, options=ScoreOptions(resamples=0))
    (site,) = dimensions(result)
    assert site.values == ("north", "south")
    assert [row.name for row in site.forest.rows] == ["north", "south", "everybody"]
    assert {row.split for _, cells in site.table for row in cells} == {"test"}


def test_probabilities_are_measured_as_they_are_where_that_was_asked_for() -> None:
    rows = table({"common": 60})
    rows["score:common"] = rows["score:common"] ** 3  # far from calibrated
    asked = score_predictions(rows, options=ScoreOptions(resamples=30, probabilities=True))
    plain = score_predictions(rows, options=ScoreOptions(resamples=30))
    isotonic = score_predictions(rows, options=ScoreOptions(resamples=30, calibration="isotonic"))
    for result, name in ((asked, "none"), (plain, "platt"), (isotonic, "isotonic")):
        row = result.find("ece", "macro", split="test", calibration=name)
        brier = result.find("brier", "common", split="test", calibration=name)
        tile = next(tile for tile in tiles_of([result]) if tile.name.startswith("Calibration error"))
        assert tile.value == f"{row.value:.3f}"
        made = score_table(result)
        cell = made.rows[0][made.columns.index("Brier")]
        assert cell.value == brier.value  # pyrefly: ignore
        told = "of the scores as they are" if name == "none" else f"after {name} calibration on validation patients"
        assert f"Brier score and calibration error (bias-corrected) {told}." in to_markdown(made)
        decisions = {row.calibration for row in result.metrics if row.metric.startswith("net_benefit@")}
        assert decisions == {name}
    assert asked.find("ece", "macro", split="test", calibration="none").value > 0.1  # pyrefly: ignore


def test_a_loss_that_is_infinite_is_called_so() -> None:
    rows = table({"common": 60, "also": 50})
    at = rows.index[(rows["split"] == "test") & (rows["label:common"] == 1)][0]
    rows.loc[at, "score:common"] = 0.0
    result = score_predictions(rows, options=ScoreOptions(resamples=0, probabilities=True))
    macro = result.find("log_loss", "macro", split="test", calibration="none")
    assert (macro.value, macro.reason) == (None, "infinite")
    assert result.find("brier", "macro", split="test", calibration="none").counts.labels_used == 2


def test_a_p_value_is_never_written_as_nothing() -> None:
    rows = table({"common": 90})
    turned = rows.assign(**{"score:common": 1 - rows["score:common"]})
    right, wrong = (score_predictions(each, options=ScoreOptions(resamples=0)) for each in (rows, turned))
    made = comparison_table(compare_results(wrong, right, resamples=0))
    assert "<0.0001" in to_markdown(made)
    assert "optimistic" not in to_markdown(made)
    assert "0.0000" not in to_markdown(made)
    assert "$<$0.0001" in to_latex(made)


def test_a_mark_of_a_comparison_is_explained_below_it() -> None:
    rows = table({"rare": 9, "four": 4})
    result = score_predictions(rows, options=ScoreOptions(resamples=100))
    text = to_markdown(comparison_table(compare_results(result, result, resamples=100)))
    assert ")* |" in text
    assert "\n* 30 patients or fewer of one class (a mean: 4 of a finding): the interval is optimistic.\n" in text
    assert "** |" in text
    assert "\n** Fewer than 5 patients of one class: no interval.\n" in text


def test_a_mean_over_a_rare_finding_is_marked_wherever_its_interval_stands(scored: Result) -> None:
    row = scored.find("auroc", "macro", split="test")
    assert (row.reason, row.interval.low is None) == ("rare_findings", False)
    compared = comparison_table(compare_results(scored, scored, resamples=40))
    for text in (to_markdown(score_table(scored)), to_markdown(compared)):
        assert ")* |" in next(line for line in text.splitlines() if line.startswith("| **macro"))
    forest = finding_forest([scored])
    assert forest is not None
    assert forest.rows[-1].marks[0].few
    assert f"{row.interval.high:.3f}, optimistic) over 3 findings" in summary_of([scored])


def test_a_mean_over_rare_findings_alone_has_no_interval() -> None:
    rows = table({"four": 4, "three": 3})
    found = evaluate_scores(rows[rows["split"] == "test"], seed=0, resamples=30)
    macro = found.find("auroc", "macro")
    assert (macro.interval.low, macro.interval.method, macro.reason) == (None, "none", "too_few_positives")
    assert macro.value == pytest.approx(np.mean([found.find("auroc", name).value for name in ("four", "three")]))


def test_few_patients_without_a_finding_make_an_interval_as_optimistic_as_few_with_it() -> None:
    result = score_predictions(table({"devices": 180}), options=ScoreOptions(resamples=40))
    assert result.find("auroc", "devices", split="test").reason == "few_negatives"
    forest = finding_forest([result])
    assert forest is not None
    assert forest.rows[0].marks[0].few
    limits = facts_of(ReportInputs(title="", results=(result,)))["limitations"]
    assert limits == "30 negative patients or fewer, so that the interval is optimistic: devices."


@pytest.mark.parametrize(("patients", "reason"), [(4, "too_few_patients"), (5, "few_patients"), (30, "few_patients")])
def test_a_mean_over_few_patients_says_so_as_a_number_of_two_classes_does(patients: int, reason: str) -> None:
    values, people = np.linspace(0.2, 0.9, 31), [f"p{i}" for i in range(31)]
    few, many = (mean_metric("dice", "lung", values[:n], people[:n], seed=0, resamples=60) for n in (patients, 31))
    assert (few.reason, few.interval.low is None) == (reason, patients < 5)
    assert (many.reason, many.interval.low is None) == (None, False)


@pytest.mark.parametrize(("drawn", "reason"), [(4, "too_few_positives"), (30, "few_positives"), (31, None)])
def test_an_average_precision_of_boxes_rests_on_the_patients_who_have_one(drawn: int, reason: str | None) -> None:
    cases, box = CaseBoxes(), np.array([[0.0, 0.0, 4.0, 4.0]])
    for i in range(60):
        truth = box if i < drawn else np.empty((0, 4))
        cases.add(i, f"p{i}", truth, box + (i % 2) * 8, np.array([1.0 - i / 60]), iou=0.5)
    for row in ap_rows({"nodule": cases}, iou=0.5, seed=0, resamples=60):
        assert (row.counts.patients, row.counts.positives, row.reason) == (60, drawn, reason)
        assert (row.interval.low is None) == (drawn < 5)

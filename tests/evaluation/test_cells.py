"""The table of a sweep against hand computation: Student's t, a paired patient bootstrap in a plain loop, Holm."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp.core.errors import ConfigError, DataError
from medvlp.evaluation.cells import CellFacts, Measure, RunFacts, Table
from medvlp.evaluation.cells_table import make_table, not_measured, over_seeds
from medvlp.evaluation.cells_words import document, number_table, reading_tables
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.predictions import Policy
from medvlp.evaluation.redraw import redraw
from medvlp.evaluation.results import Result, write_result
from medvlp.evaluation.retrieval import evaluate_retrieval
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions
from medvlp.evaluation.tables import to_csv, to_markdown
from medvlp.statistics.bootstrap import patient_clusters, resample_patients

AUROC = Measure(result="zero_shot", metric="auroc", label="macro", split="test")
RESAMPLES = 200
T2 = 0.95 / math.sqrt(2 * 0.975 * 0.025)  # Student's t at 97.5 % with 2 degrees of freedom has a closed form
FINDINGS = ("effusion", "nodule")


def cases(*, strength: float, draw: int, rows: int = 90, patients: int = 40, of: int = 0) -> pd.DataFrame:
    """Scores of a model of some strength; labels and patients are those of cohort `of`."""
    cohort, model = np.random.default_rng(of), np.random.default_rng([7, draw])
    table = pd.DataFrame({"id": [f"r{i:03d}" for i in range(rows)], "split": "test"})
    table["patient_id"] = [f"p{i}" for i in cohort.integers(0, patients, rows)]
    for at, finding in enumerate(FINDINGS):
        label = (cohort.random(rows) < 0.4).astype(float)
        table[f"label:{finding}"] = np.where(cohort.random(rows) < 0.1, -1.0, label)
        table[f"score:{finding}"] = strength * label + model.normal(size=rows).round(1) * (1 + at)
    return table.sample(frac=1.0, random_state=draw)  # the order of rows is nobody's business


def result(table: pd.DataFrame) -> Result:
    scored = evaluate_scores(table, name="zero_shot", seed=0, resamples=0)
    return replace(scored, synthetic=True)


def cell(folder: Path, name: str, runs: Mapping[int, Result | str]) -> CellFacts:
    """A cell with written results; a sentence instead is a failure."""
    facts = []
    for seed, found in runs.items():
        place = folder / name / f"seed-{seed}"
        if isinstance(found, str):
            facts.append(RunFacts(seed=seed, folder=place.name, state="failed", reason=found))
            continue
        write_result(found, place / "results" / f"{found.name}.json")
        facts.append(RunFacts(seed=seed, folder=place.name, state="finished", code="c", results={"test": place}))
    return CellFacts(name=name, labels={"method": name}, identity=name, runs=tuple(facts))


def two_cells(folder: Path) -> tuple[dict[str, list[pd.DataFrame]], Table]:
    tables = {
        name: [cases(strength=strength, draw=draw + 10 * at) for draw in range(3)]
        for at, (name, strength) in enumerate({"plain": 0.6, "ours": 1.1, "same": 0.6}.items())
    }
    tables["same"] = tables["plain"]
    cells = [cell(folder, name, dict(enumerate(map(result, runs)))) for name, runs in tables.items()]
    return tables, make_table(cells, [AUROC], title="T", reference="plain", resamples=RESAMPLES, seed=5)


def markdown(table: Table) -> str:
    return "\n".join(map(to_markdown, reading_tables(table)))


def macro(table: pd.DataFrame, weights: Mapping[str, float] | None = None) -> float:
    """Macro AUROC from all pairs of a positive and a negative row, a row counted as often as its patient was drawn."""
    weight = np.ones(len(table)) if weights is None else table["patient_id"].map(weights).to_numpy()
    values = []
    for finding in FINDINGS:
        label, score = table[f"label:{finding}"].to_numpy(), table[f"score:{finding}"].to_numpy()
        positive, negative = label == 1, label == 0
        pairs = np.outer(weight[positive], weight[negative])
        above = score[positive][:, None] - score[negative][None, :]
        values.append(float((pairs * ((above > 0) + 0.5 * (above == 0))).sum() / pairs.sum()))
    return float(np.mean(values))


def drawn_patients(table: pd.DataFrame) -> list[dict[str, float]]:
    ordered = table.sort_values("id")
    positive = (ordered[[f"label:{finding}" for finding in FINDINGS]] == 1).any(axis=1)
    clusters = patient_clusters(ordered["patient_id"], positive)
    names = sorted(ordered["patient_id"].unique())
    weights = resample_patients(clusters, start=0, stop=RESAMPLES, seed=5)
    return [dict(zip(names, column, strict=True)) for column in weights.T]


def test_seeds_as_repeats_are_a_t_interval() -> None:
    found = over_seeds([0.80, 0.82, 0.84])
    reach = T2 * 0.02 / math.sqrt(3)
    assert found.low == pytest.approx(0.82 - reach, abs=1e-12)
    assert found.high == pytest.approx(0.82 + reach, abs=1e-12)
    assert (over_seeds([0.8]).low, over_seeds([0.8]).reason) == (None, "one_seed")
    equal = over_seeds([0.1 + 0.2, 0.3])  # an interval of no width would say that training again gives just this
    assert (equal.low, equal.high, equal.reason) == (None, None, "no_spread")


def test_means_intervals_and_p_are_those_of_a_loop_over_pairs_of_rows(tmp_path: Path) -> None:
    tables, table = two_cells(tmp_path)
    plain, ours, same = (row.readings[0] for row in table.rows)
    values = {name: [macro(run) for run in runs] for name, runs in tables.items()}
    assert list(ours.values.values()) == pytest.approx(values["ours"], abs=1e-12)
    assert ours.mean == pytest.approx(np.mean(values["ours"]), abs=1e-12)
    assert ours.sd == pytest.approx(np.std(values["ours"], ddof=1), abs=1e-12)

    weights = drawn_patients(tables["ours"][0])
    draws = {name: np.array([[macro(run, w) for run in runs] for w in weights]) for name, runs in tables.items()}
    low, high = np.quantile(draws["ours"].mean(axis=1), [0.025, 0.975])
    assert (ours.over_patients.low, ours.over_patients.high) == pytest.approx((low, high), abs=1e-12)

    assert plain.difference is None
    assert ours.difference is not None
    moved = (draws["ours"] - draws["plain"]).mean(axis=1)
    low, high = np.quantile(moved, [0.025, 0.975])
    assert ours.difference.value == pytest.approx(np.mean(values["ours"]) - np.mean(values["plain"]), abs=1e-12)
    assert (ours.difference.over_patients.low, ours.difference.over_patients.high) == pytest.approx((low, high))
    own = np.subtract(values["ours"], values["plain"])
    reach = T2 * own.std(ddof=1) / math.sqrt(3)
    assert ours.difference.over_seeds.low == pytest.approx(own.mean() - reach, abs=1e-12)

    p = min(1.0, 2 * ((moved <= 0).sum() + 1) / (RESAMPLES + 1))
    assert ours.difference.p == pytest.approx(p)
    assert same.difference is not None
    assert (same.difference.value, same.difference.p) == (0.0, 1.0)
    assert table.comparisons == 2
    assert ours.difference.p_holm == pytest.approx(2 * p)
    assert same.difference.p_holm == 1.0


def test_the_paired_interval_is_narrower_than_what_is_left_of_two_single_ones(tmp_path: Path) -> None:
    """Models that agree on who is hard share their patients' luck."""
    hard = cases(strength=0.8, draw=1)
    slightly = hard.assign(**{f"score:{f}": hard[f"score:{f}"] + 0.02 * hard[f"label:{f}"] for f in FINDINGS})
    cells = [cell(tmp_path, name, {0: result(table)}) for name, table in {"a": hard, "b": slightly}.items()]
    table = make_table(cells, [AUROC], title="", reference="a", resamples=RESAMPLES)
    single, difference = table.rows[1].readings[0].over_patients, table.rows[1].readings[0].difference
    assert difference is not None
    paired = difference.over_patients
    assert None not in (single.low, single.high, paired.low, paired.high)
    assert (paired.high - paired.low) < 0.2 * (single.high - single.low)  # type: ignore[operator]
    assert difference.over_seeds.reason == "one_seed"


@pytest.mark.parametrize("metric", ["auroc", "average_precision"])
def test_a_number_is_made_again_from_its_cases_under_any_weights(metric: str) -> None:
    table = cases(strength=0.7, draw=3)
    table["group:site"] = np.where(np.arange(len(table)) % 3 == 0, "north", "south")
    whole = evaluate_scores(table, seed=0, resamples=0, min_positives=5, min_group=2)
    score = roc_auc_score if metric == "auroc" else average_precision_score
    for group in (None, "site=north"):
        for label in (*FINDINGS, "macro"):
            made = redraw(whole, whole.find(metric, label, group=group))
            assert made is not None
            draws = resample_patients(made.clusters, start=0, stop=20, seed=0)
            again = made.draw(draws)
            names = sorted(table["patient_id"].unique())
            for column, value in zip(draws.T, again, strict=True):
                weight = table["patient_id"].map(dict(zip(names, column, strict=True))).to_numpy()
                inside = (weight > 0) & ((group is None) | (table["group:site"] == "north").to_numpy())
                expected = []
                for finding in FINDINGS if label == "macro" else [label]:
                    rows = inside & table[f"label:{finding}"].isin([0, 1]).to_numpy()
                    truth = table[f"label:{finding}"][rows]
                    expected.append(score(truth, table[f"score:{finding}"][rows], sample_weight=weight[rows]))
                assert value == pytest.approx(np.mean(expected), abs=1e-12)


def test_recall_and_mean_rank_are_means_over_the_drawn_queries() -> None:
    generator = np.random.default_rng(1)
    image = generator.normal(size=(30, 4))
    text = image + generator.normal(size=(30, 4))
    patients = [f"p{i}" for i in generator.integers(0, 12, 30)]
    reports = [f"report {i % 22}" for i in range(30)]
    found = evaluate_retrieval(image, text, reports, patients, seed=0, resamples=0, max_group=1)
    assert found.cases is not None
    for metric, column in (("recall@5", "recall@5"), ("mean_rank", "expected_rank")):
        for group in (None, "report_group<=1"):
            made = redraw(found, found.find(metric, "report_to_image", group=group))
            assert made is not None
            rows = found.cases[found.cases["direction"] == "report_to_image"]
            rows = rows if group is None else rows[rows["relevant"] <= 1]
            weights = resample_patients(made.clusters, start=0, stop=10, seed=2)
            for column_of, value in zip(weights.T, made.draw(weights), strict=True):
                weight = rows["patient_id"].map(dict(zip(sorted(set(patients)), column_of, strict=True)))
                assert value == pytest.approx(np.average(rows[column], weights=weight), abs=1e-12)
    assert redraw(found, found.find("median_rank", "report_to_image")) is None


def grouped(rows: int = 400) -> pd.DataFrame:
    """A rare finding, a site with few patients, and ages in years."""
    generator = np.random.default_rng(8)
    table = pd.DataFrame({"id": [f"r{i:03d}" for i in range(rows)], "split": "test"})
    table["patient_id"] = [f"p{i // 2}" for i in range(rows)]
    for finding, share in {"effusion": 0.4, "nodule": 0.1, "fracture": 0.03}.items():
        label = (generator.random(rows) < share).astype(float)
        table[f"label:{finding}"] = np.where(generator.random(rows) < 0.1, -1.0, label)
        table[f"score:{finding}"] = label + generator.normal(size=rows)
    table["group:site"] = np.where(np.arange(rows) < 60, "small", "large")
    table["group:age"] = generator.integers(20, 90, rows // 2).repeat(2)
    table["group:size@effusion"] = np.where(table["label:effusion"] == 1, np.where(np.arange(rows) % 2, "1", "2"), None)
    return table


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("policy", ["u_ignore", "u_ones"])
@pytest.mark.parametrize("min_group", [5, 10])
def test_every_number_of_a_ranking_is_made_again(scored: bool, policy: Policy, min_group: int) -> None:
    asked: dict[str, Any] = {"resamples": 0, "min_positives": 30, "policy": policy, "min_group": min_group}
    if scored:
        found = score_predictions(grouped(), options=ScoreOptions(**asked))
    else:
        found = evaluate_scores(grouped(), seed=0, **asked)
    groups: dict[str, set[int | None]] = {"site": set(), "age": set(), "size": set()}
    everybody = found.find("auroc", "macro").counts.labels_used
    for row in found.metrics:
        crossed = row.group is not None and " & " in row.group
        if row.metric not in ("auroc", "average_precision") or row.value is None or row.label in ("micro", "weighted"):
            continue
        made = redraw(found, row)
        if crossed:
            assert made is None
            continue
        assert made is not None, (row.label, row.group)
        assert made.draw(np.ones((made.clusters.patients, 1)))[0] == pytest.approx(row.value)
        if row.label == "macro" and row.group is not None:
            groups[row.group.partition("=")[0]].add(row.counts.labels_used)
    assert everybody in groups["site"]
    assert len(groups["site"]) == 2 or min_group == 5  # the small site's mean is over fewer findings
    assert groups["age"]
    assert groups["size"] == {1}


def test_cases_that_do_not_give_the_reported_number_are_refused() -> None:
    found = result(cases(strength=0.7, draw=3))
    other = Result(name="zero_shot", metrics=found.metrics, cases=cases(strength=0.7, draw=4))
    with pytest.raises(
        DataError, match=r"'zero_shot' reports auroc macro = 0\.\d+, its per-case table gives 0\.\d+: .* "
    ):
        redraw(other, found.find("auroc", "macro"))


def test_other_test_cases_cannot_be_paired(tmp_path: Path) -> None:
    cells = [
        cell(tmp_path, "a", {0: result(cases(strength=0.7, draw=1))}),
        cell(tmp_path, "b", {0: result(cases(strength=0.7, draw=2, of=1))}),
    ]
    table = make_table(cells, [AUROC], title="", reference="a", resamples=RESAMPLES)
    reading = table.rows[1].readings[0]
    assert reading.over_patients.low is not None
    assert reading.difference is not None
    assert (reading.difference.p, reading.difference.p_holm, table.comparisons) == (None, None, 0)
    assert reading.difference.over_patients.reason == "other_cases"
    assert "other cases" in markdown(table)


def test_a_failed_run_is_left_out_of_both_sides_of_a_difference(tmp_path: Path) -> None:
    results = {draw: result(cases(strength=0.7, draw=draw)) for draw in range(5)}
    cells = [
        cell(tmp_path, "a", {0: results[0], 1: results[1]}),
        cell(tmp_path, "b", {0: results[2], 1: "Out of memory."}),
        cell(tmp_path, "c", {0: "Out of memory.", 1: "Out of memory."}),
    ]
    table = make_table(cells, [AUROC], title="", reference="a", resamples=RESAMPLES)
    whole, half, nothing = (row.readings[0] for row in table.rows)
    assert half.difference is not None
    assert half.difference.seeds == (0,)
    assert half.difference.value == pytest.approx(half.values[0] - whole.values[0])
    assert (nothing.mean, nothing.reason, nothing.difference) == (None, "no_run", None)
    assert "Not finished: 3 of 6 runs; means are over those that are." in table.caveats
    assert "| b | 1 of 2 |" in markdown(table)


def test_means_over_other_findings_are_told_apart_in_words(tmp_path: Path) -> None:
    """With a hundredth of the reports a rare finding may stand in none, and the model is not asked for it."""
    whole = cases(strength=0.7, draw=1)
    part = whole.drop(columns=["label:nodule", "score:nodule"])
    sentence = "zero_shot auroc macro (test) is over 1 to 2 findings, not the same in all runs."
    for tables, expected in (([whole, part], [sentence]), ([whole, whole], [])):
        cells = [cell(tmp_path / str(len(expected)), str(at), {0: result(each)}) for at, each in enumerate(tables)]
        table = make_table(cells, [AUROC], title="", reference="0", resamples=RESAMPLES)
        assert [each for each in table.caveats if "findings" in each] == expected
    single = Measure(result="zero_shot", metric="auroc", label="effusion", split="test")
    cells = [cell(tmp_path / "single", str(at), {0: result(each)}) for at, each in enumerate((whole, part))]
    assert not make_table(cells, [single], title="", resamples=RESAMPLES).caveats


def test_enough_resamples_are_drawn_for_the_correction(tmp_path: Path) -> None:
    """The smallest p is 2 / (resamples + 1): times the number of comparisons it must stay under 0.05."""
    same = result(cases(strength=0.7, draw=1))
    better = result(cases(strength=9.0, draw=2))
    cells = [cell(tmp_path, f"c{at}", {0: same if at == 0 else better}) for at in range(12)]
    table = make_table(cells, [AUROC], title="", reference="c0", resamples=100)
    assert table.resamples == 1100
    assert all(row.readings[0].difference.p_holm < 0.05 for row in table.rows[1:])  # type: ignore[union-attr]


def test_five_patients_of_a_class_give_no_interval_over_patients_and_no_p(tmp_path: Path) -> None:
    few = [cases(strength=strength, draw=draw, rows=180, patients=60) for draw, strength in enumerate((0.1, 5.0))]
    for table in few:
        for finding in FINDINGS:
            positive = table[f"label:{finding}"] == 1
            five = table["patient_id"].isin(sorted(set(table["patient_id"][positive]))[:5])
            table.loc[positive & ~five, f"label:{finding}"] = -1
            assert (positive & five).sum() > 6  # films of five patients, however many
    cells = [cell(tmp_path, str(at), {0: result(table)}) for at, table in enumerate(few)]
    found = make_table(cells, [AUROC], title="", reference="0", resamples=RESAMPLES)
    reading = found.rows[1].readings[0]
    assert reading.over_patients.reason == "few_patients"
    assert reading.difference is not None
    assert (reading.difference.over_patients.reason, reading.difference.p) == ("few_patients", None)
    assert "too few" in markdown(found)


def test_what_all_resamples_repeat_has_no_interval_of_no_width_and_no_p(tmp_path: Path) -> None:
    """A score that divides the classes does so in every resample, which is no sign of how sure that is."""
    divides = cases(strength=1000.0, draw=1)
    knows_nothing = divides.assign(**{f"score:{finding}": 0.0 for finding in FINDINGS})
    cells = [cell(tmp_path, n, {0: result(t)}) for n, t in {"flat": knows_nothing, "a": divides, "b": divides}.items()]
    for reference in ("flat", "a"):
        table = make_table(cells, [AUROC], title="", reference=reference, resamples=RESAMPLES)
        flat, first, second = (row.readings[0] for row in table.rows)
        assert (flat.mean, first.mean, second.mean) == (0.5, 1.0, 1.0)
        for reading in (flat, first, second):
            assert (reading.over_patients.low, reading.over_patients.reason) == (None, "no_spread")
        assert second.difference is not None
        less, p = second.difference.over_patients, second.difference.p
        expected = (None, None, "no_spread", None) if reference == "flat" else (0.0, 0.0, "", 1.0)
        assert (less.low, less.high, less.reason, p) == expected
        assert "no spread" in markdown(table)


@pytest.mark.parametrize("metric", ["brier", "ece"])
def test_a_calibrated_number_is_that_of_the_released_map(tmp_path: Path, metric: str) -> None:
    table = cases(strength=1.0, draw=3, rows=200)
    table["split"] = np.where(table["patient_id"].str[1:].astype(int) % 2, "test", "validate")
    for finding in FINDINGS:
        table[f"score:{finding}"] = 1 / (1 + np.exp(-3 * table[f"score:{finding}"]))
    scored = score_predictions(table, options=ScoreOptions(resamples=0, calibration="isotonic"), name="zero_shot")
    measure = Measure(result="zero_shot", metric=metric, label="macro", split="test")
    reading = make_table([cell(tmp_path, "a", {0: scored})], [measure], title="").rows[0].readings[0]
    values = {name: scored.find(metric, "macro", calibration=name).value for name in ("none", "platt", "isotonic")}
    assert len(set(values.values())) == 3
    assert reading.mean == values["isotonic"]


def test_a_measure_that_no_run_has_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    cells = [cell(tmp_path, "a", {0: result(cases(strength=0.7, draw=1))})]
    wrong = Measure(result="zero_shot", metric="auroc", label="nodul", split="test")
    message = r"No run measures zero_shot auroc nodul \(test\): .* did you mean 'zero_shot auroc nodule \(test\)'\?"
    with pytest.raises(ConfigError, match=message):
        make_table(cells, [wrong], title="")
    with pytest.raises(ConfigError, match=r"No run measures linear_probe auroc macro \(test\): report another number"):
        make_table(cells, [Measure(result="linear_probe", metric="auroc", label="macro", split="test")], title="")
    right = Measure(result="zero_shot", metric="auroc", label="nodule", split="test")
    (told,) = not_measured(cells[0].runs[0], [right, wrong])
    assert told.startswith("zero_shot auroc nodul (test): report another number, finished runs are kept: did you mean")


def test_json_markdown_and_csv_say_the_same(tmp_path: Path) -> None:
    _, table = two_cells(tmp_path)
    reading = table.rows[1].readings[0]
    plain = json.loads(json.dumps(document(table), allow_nan=False))
    assert plain["schema"] == "medvlp.sweep/1"
    assert plain["cells"][1]["readings"][0]["mean"] == reading.mean
    assert plain["cells"][1]["readings"][0]["over_seeds"]["method"] == "student_t_over_seeds"
    assert plain["cells"][1]["readings"][0]["over_patients"]["method"] == "patient_bootstrap_percentile"
    (row,) = (row for row in csv.DictReader(io.StringIO(to_csv(number_table(table)))) if row["method"] == "ours")
    assert float(row["mean"]) == reading.mean
    assert reading.difference is not None
    assert float(row["p_holm"]) == reading.difference.p_holm
    assert [float(value) for value in row["values"].split()] == list(reading.values.values())
    text = markdown(table)
    assert f"| ours | 3 | {reading.mean:.3f} | {reading.sd:.3f} |" in text
    assert "corrected over the 2 comparisons of this table" in text
    assert "Student's t over the seeds' values" in text
    assert "percentile bootstrap of patients, 200 resamples" in text
    assert "Synthetic data" in text

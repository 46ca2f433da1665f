"""A predictions table to a result: what is chosen on validation is judged elsewhere, and nothing else is chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.randomness import numpy_generator
from medvlp.evaluation.metric_row import with_draws
from medvlp.evaluation.results import Counts, Metric, Result, load_result, write_result
from medvlp.evaluation.scoring.files import score_file
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import recompute, score_predictions
from medvlp.statistics.bootstrap import patient_clusters, resample_patients
from medvlp.statistics.calibration.calibrators import Calibrator
from medvlp.statistics.calibration.errors import equal_mass_bins, expected_calibration_error, smooth_calibration_error
from medvlp.statistics.calibration.line import calibration_line
from medvlp.statistics.conformal import fit_sets
from medvlp.statistics.influence import acceleration
from medvlp.statistics.intervals import bca_interval, logit_interval
from medvlp.statistics.operating_points import fit_operating_point, parse_rule
from medvlp.statistics.proportions import share_of

FAST = ScoreOptions(resamples=40, seed=3)
RANK = {"auroc", "average_precision", "auroc_alike", "average_precision_alike"}
AUDIT = {"auroc_gap", "worst_auroc_gap", "shortcut_auroc", "shortcut_auroc_all", "shortcut_auroc_positives"}
AUDIT |= {"subgroup_gap_test", "shortcut_test", "miscalibration_test"}


def _table(rows: int = 400, seed: int = 0, *, logits: bool = False) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    patient = generator.integers(0, rows // 3, rows)
    table = pd.DataFrame(
        {
            "id": [f"S{index}" for index in range(rows)],
            "patient_id": [f"P{each}" for each in patient],
            "split": np.where(patient % 3 == 0, "validate", "test"),
            "group:site": np.where(patient % 2, "north", "south"),
        }
    )
    for finding, prevalence in (("effusion", 0.4), ("nodule", 0.2)):
        label = (generator.random(rows) < prevalence).astype(float)
        z = 2 * label + generator.normal(size=rows) - 1
        table[f"score:{finding}"] = z if logits else 1 / (1 + np.exp(-z))
        label[generator.random(rows) < 0.05] = -1
        label[generator.random(rows) < 0.05] = np.nan
        table[f"label:{finding}"] = label
    return table


def _known(table: pd.DataFrame, finding: str, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = table[(table["split"] == split) & table[f"label:{finding}"].isin([0, 1])]
    return rows[f"label:{finding}"].to_numpy() == 1, rows[f"score:{finding}"].to_numpy(), rows["patient_id"].to_numpy()


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return _table()


@pytest.fixture(scope="module")
def result(table: pd.DataFrame) -> Result:
    return score_predictions(table, options=FAST)


def test_each_number_at_a_threshold_is_scikit_learns_on_test_rows(table: pd.DataFrame, result: Result) -> None:
    for finding in ("effusion", "nodule"):
        labels, scores, _ = _known(table, finding, "validate")
        truth, values, _ = _known(table, finding, "test")
        for rule in FAST.points:
            threshold = fit_operating_point(labels, scores, parse_rule(rule)).threshold
            called = values >= threshold
            for metric, function in (
                ("sensitivity", sk.recall_score),
                ("ppv", sk.precision_score),
                ("f1", sk.f1_score),
                ("mcc", sk.matthews_corrcoef),
                ("accuracy", sk.accuracy_score),
                ("balanced_accuracy", sk.balanced_accuracy_score),
            ):
                row = result.find(metric, finding, split="test", operating_point=rule)
                assert row.value == pytest.approx(function(truth, called), abs=1e-12)
                assert row.threshold == threshold
                assert row.interval.low <= row.value <= row.interval.high
                assert row.counts.n == len(truth)


def test_how_far_it_has_come_is_said_part_by_part(
    table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("medvlp.core.progress.EVERY", 1e-9)
    with caplog.at_level("INFO", logger="medvlp.evaluation.scoring.score"):
        score_predictions(table.assign(split=table["split"].replace("test", "later")), options=FAST)
    parts = [int(line.split()[1]) for line in caplog.messages]
    assert parts == sorted(set(parts))
    assert {1, 5} <= set(parts) <= set(range(12))
    assert all(" of 12 parts" in line for line in caplog.messages)


def test_validation_rows_alone_choose(table: pd.DataFrame, result: Result) -> None:
    moved = table.copy()
    test = moved["split"] == "test"
    moved.loc[test, "score:effusion"] = 1 - moved.loc[test, "score:effusion"]
    assert score_predictions(moved, options=FAST).fitted == result.fitted
    moved = table.copy()
    moved.loc[~test, "score:effusion"] = 1 - moved.loc[~test, "score:effusion"]
    assert score_predictions(moved, options=FAST).fitted["effusion"] != result.fitted["effusion"]


def test_validation_rows_are_ranked_and_judged_by_nothing_that_they_chose(result: Result) -> None:
    assert {row.metric for row in result.metrics if row.split == "validate"} <= RANK


def test_a_validation_table_is_the_same_as_a_validation_split(table: pd.DataFrame, result: Result) -> None:
    parts = {split: rows.drop(columns="split") for split, rows in table.groupby("split")}
    found = score_predictions(parts["test"], validation=parts["validate"], options=FAST)
    key = lambda row: (row.split, row.metric, row.label, str(row.group), str(row.operating_point), str(row.calibration))  # noqa: E731
    assert sorted(found.metrics, key=key) == sorted(result.metrics, key=key)
    assert found.fitted == result.fitted


def test_a_validation_csv_beside_a_parquet_file_of_numbers_is_the_same_table(tmp_path, table: pd.DataFrame) -> None:
    whole = table.assign(id=range(len(table)), patient_id=table.groupby("patient_id").ngroup(), synthetic=False)
    whole["StudyYear"] = 2020
    rows = {split: part.drop(columns="split") for split, part in whole.groupby("split")}
    rows["test"].to_parquet(tmp_path / "test.parquet")
    rows["validate"].assign(synthetic=0).to_csv(tmp_path / "validate.csv", index=False)
    found = score_file(tmp_path / "test.parquet", fit=tmp_path / "validate.csv", options=FAST)
    write_result(found, tmp_path / "found.json")
    again = load_result(tmp_path / "found.json")
    assert again.fitted == score_predictions(whole, options=FAST).fitted
    assert len(again.cases) == len(whole)
    rows["test"].to_csv(tmp_path / "validate.csv", index=False)
    with pytest.raises(DataError, match=r"predictions and in the validation table: \d+\. Split by patient"):
        score_file(tmp_path / "test.parquet", fit=tmp_path / "validate.csv", options=FAST)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Validate", "VAL"])
def test_usual_names_of_the_validation_split_are_understood(table: pd.DataFrame, result: Result, name: str) -> None:
    renamed = table.assign(split=table["split"].replace("validate", name))
    assert score_predictions(renamed, options=FAST).metrics == result.metrics


@pytest.mark.parametrize("name", ["training", "TRN", "Train"])
def test_rows_of_training_are_never_judged_by_thresholds(table: pd.DataFrame, result: Result, name: str) -> None:
    more = table[table["split"] == "test"].assign(split=name)
    more = pd.concat([table, more.assign(id=more["id"].astype(str) + "t", patient_id="t" + more["patient_id"])])
    found = score_predictions(more, options=FAST)
    assert {row.split for row in found.metrics if row.operating_point} == {
        row.split for row in result.metrics if row.operating_point
    }
    assert "train" in {row.split for row in found.metrics}


def test_a_split_that_is_ranked_may_be_written_in_capitals(table: pd.DataFrame) -> None:
    renamed = table.assign(split=table["split"].replace("test", "Test"))
    options = [replace(FAST, ranked=(name,)) for name in ("test", "Test")]
    one, other = (score_predictions(rows, options=each) for rows, each in zip((table, renamed), options, strict=True))
    assert one.metrics == other.metrics


def test_rows_of_training_that_are_not_ranked_need_no_score(table: pd.DataFrame) -> None:
    options, some = replace(FAST, ranked=("test",)), table[table["split"] == "test"].head(20)
    more = some.assign(split="train", patient_id="t" + some["patient_id"].astype(str))
    more = more.assign(**{column: np.nan for column in more if column.startswith("score:")})
    found = score_predictions(pd.concat([table, more]), options=options)
    assert found.metrics == score_predictions(table, options=options).metrics


def test_without_validation_nothing_has_a_threshold_but_what_says_so(table: pd.DataFrame) -> None:
    alone = table[table["split"] == "test"]
    found = score_predictions(alone.drop(columns="split"), options=FAST)
    assert found.fitted == {}
    assert {row.metric for row in found.metrics} - RANK - AUDIT == {
        "oracle_f1",
        "oracle_accuracy",
        "oracle_sensitivity",
        "oracle_specificity",
    }
    truth, scores, _ = _known(table, "effusion", "test")
    best = max(sk.f1_score(truth, scores >= threshold) for threshold in scores)
    row = found.find("oracle_f1", "effusion", operating_point="max_f1")
    assert row.value == pytest.approx(best, abs=1e-12)
    assert row.interval.low < row.value < row.interval.high


def test_probabilities_are_measured_without_validation_only_where_they_are_said_to_be(table: pd.DataFrame) -> None:
    alone = table[table["split"] == "test"].drop(columns="split")
    found = score_predictions(alone, options=ScoreOptions(resamples=20, probabilities=True))
    assert {row.calibration for row in found.metrics if row.metric == "brier"} == {"none"}
    assert not [row for row in found.metrics if row.metric in ("f1", "sensitivity")]
    logits = _table(logits=True).drop(columns="split")
    with pytest.raises(DataError, match=r"score:effusion was said to hold probabilities and lies outside"):
        score_predictions(logits, options=ScoreOptions(resamples=20, probabilities=True))


def test_logits_are_calibrated_and_never_taken_for_probabilities() -> None:
    found = score_predictions(_table(logits=True), options=FAST)
    assert {row.calibration for row in found.metrics if row.metric == "brier"} == set(FAST.calibrations)
    assert found.fitted["effusion"]["calibration"]["platt"]["scale"] == "log_odds"


def test_scores_of_another_kind_than_in_validation_are_refused(table: pd.DataFrame) -> None:
    odd = table.copy()
    odd.loc[odd["split"] == "test", "score:nodule"] *= 3
    with pytest.raises(DataError, match=r"score:nodule, split 'test': Scores lie outside \[0, 1\] in \d+ of"):
        score_predictions(odd, options=FAST)


def test_calibration_rows_are_the_functions_on_calibrated_test_rows(table: pd.DataFrame, result: Result) -> None:
    truth, values, patients = _known(table, "effusion", "test")
    for name in ("none", *FAST.calibrations):
        p = values
        if name != "none":
            p = Calibrator.from_dict(result.fitted["effusion"]["calibration"][name]).probabilities(values)
        expected = {
            "brier": np.mean((p - truth) ** 2),
            "ece": expected_calibration_error(truth, p, patients, bins=FAST.bins),
            "smooth_ece": smooth_calibration_error(truth, p),
        }
        of_truth = np.where(truth == 1, p, 1 - p)
        if of_truth.all():
            expected["log_loss"] = -np.mean(np.log(of_truth))
        else:
            row = result.find("log_loss", "effusion", split="test", calibration=name)
            assert (row.value, row.reason, name) == (None, "infinite", "isotonic")
        for metric, value in expected.items():
            row = result.find(metric, "effusion", split="test", calibration=name)
            assert row.value == pytest.approx(value, abs=1e-12)
            assert row.interval.low <= row.value <= row.interval.high
        line = calibration_line(truth, p, patients)
        row = result.find("calibration_slope", "effusion", split="test", calibration=name)
        assert (row.value, row.interval.low, row.test.p) == pytest.approx((line.slope, line.slope_interval.low, line.p))


@pytest.mark.slow
def test_intervals_of_calibration_errors_hold_0_for_a_calibrated_model_and_not_for_an_overconfident_one() -> None:
    held = {"ece": 0, "smooth_ece": 0}
    for seed in range(20):
        generator = np.random.default_rng(seed)
        patient = np.arange(400) // 2
        p = 1 / (1 + np.exp(-generator.normal(size=400)))
        table = pd.DataFrame({"id": range(400), "patient_id": patient, "score:edema": p})
        table["label:edema"] = (generator.random(400) < p).astype(float)
        options = ScoreOptions(resamples=60, probabilities=True, seed=seed)
        found = score_predictions(table, options=options)
        sharp = score_predictions(table.assign(**{"score:edema": p**4 / (p**4 + (1 - p) ** 4)}), options=options)
        for metric in held:
            row = found.find(metric, "edema", calibration="none")
            held[metric] += row.interval.low == 0.0
            assert sharp.find(metric, "edema", calibration="none").interval.low > 0
            assert found.find(metric, "macro", calibration="none").interval.low == row.interval.low
        # The smooth error of a calibrated model is what chance makes of it.
        row = found.find("smooth_ece", "edema", calibration="none")
        assert 0.3 < row.value / row.chance < 3
    assert min(held.values()) >= 17


def test_averages_over_findings_by_hand(table: pd.DataFrame, result: Result) -> None:
    at = {"split": "test", "operating_point": "youden"}
    rows = [result.find("sensitivity", finding, **at) for finding in ("effusion", "nodule")]
    positives = np.array([row.counts.positives for row in rows])
    values = np.array([row.value for row in rows])
    assert result.find("sensitivity", "macro", **at).value == pytest.approx(values.mean())
    # Weighted by positives, sensitivity is that of all positives together.
    for label in ("weighted", "micro"):
        row = result.find("sensitivity", label, **at)
        assert row.value == pytest.approx((values * positives).sum() / positives.sum())
        assert row.counts.labels_used == 2
    pooled = [
        np.concatenate(each) for each in zip(*(_known(table, f, "test") for f in ("effusion", "nodule")), strict=True)
    ]
    micro = result.find("auroc", "micro", split="test")
    assert micro.value == pytest.approx(sk.roc_auc_score(pooled[0], pooled[1]), abs=1e-12)
    assert (micro.counts.n, micro.counts.positives) == (len(pooled[0]), pooled[0].sum())
    weighted = result.find("auroc", "weighted", split="test").value
    areas = [result.find("auroc", finding, split="test").value for finding in ("effusion", "nodule")]
    assert weighted == pytest.approx(np.average(areas, weights=positives))


def test_pooled_cases_count_where_a_finding_has_no_number_of_its_own(table: pd.DataFrame) -> None:
    # Nothing is called on the test rows of this finding, so it has no PPV; its cases are in the pool all the same.
    high = table.assign(**{"score:nodule": np.where(table["split"] == "validate", table["score:nodule"], -1e3)})
    found = score_predictions(high, options=ScoreOptions(resamples=0, calibrations=()))
    at = {"split": "test", "operating_point": "youden"}
    assert found.find("ppv", "nodule", **at).reason == "none_called"
    assert (
        found.find("ppv", "macro", **at).counts.labels_used,
        found.find("ppv", "micro", **at).counts.labels_used,
    ) == (1, 2)
    both = [found.find("ppv", finding, **at) for finding in ("effusion", "nodule")]
    assert found.find("ppv", "micro", **at).counts.n == both[0].counts.n + both[1].counts.n
    assert found.find("ppv", "micro", **at).value == found.find("ppv", "effusion", **at).value
    # Where no finding has the number, the mean has none for the same reason, and not for want of positive cases.
    low = high.assign(**{"score:effusion": high["score:effusion"].where(table["split"] == "validate", -1e3)})
    none = score_predictions(low, options=ScoreOptions(resamples=0, calibrations=()))
    reasons = [none.find(metric, "macro", **at).reason for metric in ("ppv", "mcc", "f1")]
    assert reasons == ["none_called", "none_called", None]
    strict = score_predictions(low, options=ScoreOptions(resamples=0, calibrations=(), min_positives=10_000))
    assert strict.find("ppv", "macro", **at).reason == "none_large_enough"


def test_shares_have_wilson_intervals_over_patients_and_groups_have_theirs(table: pd.DataFrame, result: Result) -> None:
    row = result.find("sensitivity", "nodule", split="test", group="site=north", operating_point="youden")
    rows = table[(table["split"] == "test") & (table["group:site"] == "north") & (table["label:nodule"] == 1)]
    called = rows["score:nodule"] >= row.threshold
    share = share_of(called, np.unique(rows["patient_id"], return_inverse=True)[1])
    assert row.value == pytest.approx(called.mean())
    assert (row.interval.low, row.interval.high) == pytest.approx((share.wilson().low, share.wilson().high))
    assert row.interval.method == ("wilson_clustered" if share.clustered else "wilson")


def test_stated_prevalences_follow_bayes(result: Result) -> None:
    at = {"split": "test", "operating_point": "youden"}
    sens, spec = (result.find(metric, "effusion", **at).value for metric in ("sensitivity", "specificity"))
    row = result.find("ppv@0.05", "effusion", **at)
    assert row.counts.prevalence == 0.05
    assert row.value == pytest.approx(sens * 0.05 / (sens * 0.05 + (1 - spec) * 0.95))


def test_conformal_rows_are_the_coverage_of_sets_fitted_on_validation(table: pd.DataFrame, result: Result) -> None:
    labels, scores, patients = _known(table, "effusion", "validate")
    truth, values, _ = _known(table, "effusion", "test")
    rule = fit_sets(labels, scores, patients=patients, level=0.9)
    assert result.fitted["effusion"]["conformal"] == rule.to_dict()
    sets = rule.sets(values)
    at = {"split": "test", "operating_point": "conformal_0.9"}
    assert result.find("conformal_coverage", "effusion", **at).value == pytest.approx(sets.covered(truth).mean())
    assert result.find("abstention", "effusion", **at).value == pytest.approx((~sets.answered).mean())
    assert result.find("conformal_set_size", "effusion", **at).value == pytest.approx(sets.size.mean())
    north = result.find("conformal_coverage", "effusion", group="site=north", **at)
    south = result.find("conformal_coverage", "effusion", group="site=south", **at)
    assert north.counts.n + south.counts.n == len(truth)
    small = score_predictions(table, options=replace(FAST, min_group=len(table)))
    for metric in ("conformal_coverage", "abstention"):  # a group of fewer patients than that has no number
        row = small.find(metric, "effusion", group="site=north", **at)
        assert (row.value, row.reason) == (None, "n_too_small")


def test_few_validation_patients_promise_nothing_however_many_rows_they_have(table: pd.DataFrame) -> None:
    four = [f"V{each % 4}" for each in range(len(table))]
    table = table.assign(patient_id=table["patient_id"].where(table["split"] == "test", four))
    found = score_predictions(table, options=ScoreOptions(resamples=0)).fitted["effusion"]
    assert (found["conformal"]["present_from"], found["conformal"]["absent_to"]) == (None, None)
    assert found["patients"] == 4


def test_a_finding_without_validation_positives_has_its_auroc_and_no_threshold(table: pd.DataFrame) -> None:
    odd = table.copy()
    odd.loc[(odd["split"] == "validate") & (odd["label:nodule"] == 1), "label:nodule"] = 0
    found = score_predictions(odd, options=FAST)
    assert found.fitted["nodule"] == {"reason": "no_validation"}
    row = found.find("f1", "nodule", split="test", operating_point="youden")
    assert (row.value, row.reason) == (None, "no_validation")
    assert found.find("auroc", "nodule", split="test").value is not None
    assert found.find("f1", "macro", split="test", operating_point="youden").counts.labels_used == 1


def test_the_policy_for_uncertain_labels_is_in_every_row_and_in_the_name(table: pd.DataFrame, result: Result) -> None:
    ones = score_predictions(table, options=ScoreOptions(resamples=0, policy="u_ones"))
    assert (result.name, ones.name) == ("scores", "scores_u_ones")
    assert {row.policy for row in ones.metrics} == {"u_ones"}
    test = table[table["split"] == "test"]
    row = ones.find("auroc", "effusion", split="test")
    assert row.counts.positives == test["label:effusion"].isin([1, -1]).sum()
    zeros = score_predictions(table, options=ScoreOptions(resamples=0, policy="u_zeros")).find(
        "auroc", "effusion", split="test"
    )
    assert (zeros.counts.n, zeros.counts.positives) == (row.counts.n, (test["label:effusion"] == 1).sum())


def test_stored_predictions_give_every_number_again_in_any_order(result: Result, tmp_path) -> None:
    write_result(result, tmp_path / "r.json")
    stored = load_result(tmp_path / "r.json")
    assert stored == result
    assert recompute(stored) == result
    marked = replace(stored, split="who stands where", caveats=("The split leaks.",))
    assert recompute(marked) == marked
    shuffled = stored.cases.sample(frac=1, random_state=0)
    again = score_predictions(shuffled, options=FAST, data=result.data)
    assert (again.fitted, again.metrics) == (result.fitted, result.metrics)
    with pytest.raises(DataError, match="has no stored predictions or options"):
        recompute(load_result(tmp_path / "r.json", cases=False))


def test_the_document_follows_the_stored_json_schema(result: Result, tmp_path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    write_result(result, tmp_path / "r.json")
    schema = json.loads((resources.files("medvlp.evaluation") / "results.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads((tmp_path / "r.json").read_text()))


def test_a_number_tuned_on_test_rows_is_never_written_alone(tmp_path) -> None:
    row = Metric(metric="oracle_f1", label="effusion", value=0.5, counts=Counts(n=9, patients=9))
    with pytest.raises(DataError, match="gives oracle_f1 for 'effusion' alone: its threshold was tuned on the rows"):
        write_result(Result(name="x", metrics=(row,)), tmp_path / "r.json")


def test_without_resamples_every_value_stays(table: pd.DataFrame, result: Result) -> None:
    found = score_predictions(table, options=ScoreOptions(resamples=0, seed=3))
    assert [row.value for row in found.metrics] == [row.value for row in result.metrics]
    assert found.find("f1", "effusion", split="test", operating_point="youden").interval.low is None
    assert found.find("sensitivity", "effusion", split="test", operating_point="youden").interval.low is not None


@pytest.mark.parametrize("form", ["percentile", "bca", "logit"])
def test_other_intervals_are_said_to_be_what_they_are(table: pd.DataFrame, form) -> None:
    found = score_predictions(table, options=ScoreOptions(resamples=200, interval=form))
    for metric, at in (("auroc", None), ("mcc", "youden")):
        row = found.find(metric, "effusion", split="test", operating_point=at)
        assert row.interval.form == form
        assert -1 < row.interval.low < row.value < row.interval.high < 1
    row = found.find("brier", "effusion", split="test", calibration="platt")
    assert row.interval.form == ("logit" if form == "logit" else "percentile")
    assert row.interval.low < row.value < row.interval.high


@pytest.mark.parametrize("form", ["percentile", "bca", "logit"])
def test_a_value_at_the_end_of_its_range_has_no_interval_without_width(form) -> None:
    names = [f"P{each}" for each in range(40)]
    table = pd.DataFrame({"id": names, "patient_id": names, "split": ["validate"] * 20 + ["test"] * 20})
    for finding, shift in (("effusion", 0.0), ("nodule", 0.1)):
        table[f"label:{finding}"] = [0.0, 1.0] * 20
        table[f"score:{finding}"] = 0.1 + 0.6 * table[f"label:{finding}"] + np.arange(40) / 200 + shift
    found = score_predictions(table, options=ScoreOptions(resamples=100, interval=form))
    for metric, label in (("f1", "effusion"), ("mcc", "effusion"), ("sensitivity", "macro"), ("f1", "macro")):
        row = found.find(metric, label, split="test", operating_point="youden")
        assert (row.value, row.interval.low, row.reason) == (pytest.approx(1.0), None, "separated")
    assert [row for row in found.metrics if row.value == 1 and row.interval.low == 1] == []
    few = found.find("f1", "effusion", split="test", operating_point="youden")
    few = with_draws(replace(few, reason="too_few_positives"), np.ones(9), form=form, patients=4)
    assert (few.interval.low, few.reason) == (None, "too_few_positives")


def test_a_benefit_of_calling_nobody_has_no_interval_without_width() -> None:
    table = _table().drop(columns="split")
    for finding in ("effusion", "nodule"):
        table[f"score:{finding}"] *= 0.4  # nobody reaches 0.5, in no resample
    found = score_predictions(table, options=replace(FAST, probabilities=True))
    for finding in ("effusion", "nodule"):
        nobody, some = (found.find(f"net_benefit@{at}", finding, calibration="none") for at in ("0.5", "0.1"))
        assert (nobody.value, nobody.interval.low, nobody.interval.high, nobody.reason) == (
            0.0,
            None,
            None,
            "no_spread",
        )
        assert some.interval.low is not None
        prevalence = nobody.counts.prevalence
        everybody = [prevalence - (1 - prevalence) * odds for odds in (1.0, 1 / 9)]
        assert [nobody.chance, some.chance] == pytest.approx([max(0.0, each) for each in everybody])
        assert everybody[0] < 0  # calling nobody is better than calling everybody, and has 0


@pytest.mark.parametrize("kind", ["constant", "right", "wrong"])
def test_no_number_has_an_interval_without_width(kind: str) -> None:
    """The same number in every resample is no sign of how sure it is: of a constant score's AUROC, F1 and Brier score.

    Calling all who have a finding and nobody else has the net benefit of its prevalence, which is not known exactly.
    """
    table = _table().drop(columns=["label:nodule", "score:nodule", "group:site"])
    table = table[table["label:effusion"].isin([0, 1])].assign(patient_id=table["id"])
    present = (table["label:effusion"] == 1).astype(float)
    table["score:effusion"] = {"constant": 0.5, "right": present, "wrong": 1 - present}[kind]
    found = score_predictions(table, options=FAST)
    assert [row for row in found.metrics if None is not row.interval.low == row.interval.high] == []
    benefit = found.find("net_benefit@0.2", "effusion", split="test", calibration="platt")
    assert (benefit.interval.low, benefit.reason) == (None, "no_spread")


def test_the_interval_of_a_calibration_error_is_of_resampled_bins_moved_to_the_estimate() -> None:
    generator = np.random.default_rng(1)
    p = generator.random(400)
    y = generator.random(400) < np.minimum(1.25 * p, 1)
    names = [f"{at:03d}" for at in range(400)]
    table = pd.DataFrame({"id": names, "patient_id": names, "label:a": y.astype(float), "score:a": p})
    found = score_predictions(table, options=ScoreOptions(resamples=100, probabilities=True))
    row = found.find("ece", "a", calibration="none")
    place, weights = equal_mass_bins(p, 15), resample_patients(patient_clusters(names, y), start=0, stop=100, seed=0)
    draws = [np.abs(np.bincount(place, weights=each * (y - p))).sum() / 400 for each in weights.T]
    expected = np.quantile(draws, [0.025, 0.975]) + row.value - np.mean(draws)
    assert [row.interval.low, row.interval.high] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("seed", "reaches"), [(15, True), (23, True), (50, False)])
def test_a_calibration_error_reaches_0_where_chance_alone_has_one_as_large_in_2_5_per_cent(seed, reaches) -> None:
    """Chance turns the residuals of each patient round or leaves them; the shares are 3.25, 4 and 2.5 per cent."""
    generator, names = np.random.default_rng(seed), [f"{at:03d}" for at in range(200)]
    p = generator.random(200)
    y = generator.random(200) < np.minimum(1.3 * p, 1)
    place = equal_mass_bins(p, 15)

    def error(weight: np.ndarray) -> float:
        return float(np.abs(np.bincount(place, weights=weight * (y - p))).sum() / 200)

    signs = numpy_generator(0, 0, "patient_signs").choice([-1.0, 1.0], (200, 400))
    chance = np.mean([error(each) >= error(np.ones(200)) for each in signs.T])
    assert (0.025 < chance < 0.05) == reaches
    table = pd.DataFrame({"id": names, "patient_id": names, "label:a": y.astype(float), "score:a": p})
    row = score_predictions(table, options=ScoreOptions(resamples=60, probabilities=True)).find(
        "ece", "a", calibration="none"
    )
    weights = resample_patients(patient_clusters(names, y), start=0, stop=60, seed=0)
    draws = np.array([error(each) for each in weights.T])
    low = float(np.quantile(draws, 0.025) + row.value - draws.mean())
    assert low > 0
    assert row.interval.low == pytest.approx(0.0 if reaches else low, abs=1e-9)


def test_a_mean_over_findings_is_drawn_over_all_of_them_and_rests_on_the_patients_of_all() -> None:
    """Of the finding a 12 of 90 patients are positive, of b 20: Student's t of their mean is that of 32."""
    generator, names = np.random.default_rng(0), [f"{at:02d}" for at in range(90)]
    truth = np.stack([np.arange(90) < 12, np.arange(90) >= 70])
    scores = 1 / (1 + np.exp(-(truth + generator.normal(size=(2, 90)))))
    columns = {f"label:{name}": row.astype(float) for name, row in zip("ab", truth, strict=True)}
    columns |= {f"score:{name}": row for name, row in zip("ab", scores, strict=True)}
    table = pd.DataFrame({"id": names, "patient_id": names, **columns})
    weights = resample_patients(patient_clusters(names, truth.any(axis=0)), start=0, stop=50, seed=0).T

    def f1(y: np.ndarray, s: np.ndarray, weight: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        called = s >= np.reshape(cuts, (-1, 1))
        return 2 * (called & y) @ weight / (weight @ y + called @ weight)

    def mean(of, weight: np.ndarray) -> float:
        return float(np.mean([of(y, s, weight) for y, s in zip(truth, scores, strict=True)]))

    found = score_predictions(table, options=ScoreOptions(resamples=50, probabilities=True))
    for metric, calibration, of in (
        ("auroc", None, lambda y, s, weight: sk.roc_auc_score(y, s, sample_weight=weight)),
        ("brier", "none", lambda y, s, weight: np.average((y - s) ** 2, weights=weight)),
    ):
        row = found.find(metric, "macro", calibration=calibration)
        draws = np.array([mean(of, weight) for weight in weights])
        expected = logit_interval(draws, value=mean(of, np.ones(90)), patients=32)
        assert (row.interval.low, row.interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    row = score_predictions(table, options=ScoreOptions(resamples=50)).find(
        "oracle_f1", "macro", operating_point="max_f1"
    )
    best = [mean(lambda y, s, weight: f1(y, s, weight, s).max(), weight) for weight in weights]
    expected = np.quantile(best, [0.025, 0.975])
    assert (row.interval.low, row.interval.high) == pytest.approx(expected, abs=1e-9)
    chosen = table.assign(id=[f"v{each}" for each in names], patient_id=[f"v{each}" for each in names])
    called = score_predictions(table, validation=chosen, options=ScoreOptions(resamples=50, calibrations=()))
    row = called.find("f1", "macro", split="test", operating_point="youden")
    cuts = [called.find("f1", name, split="test", operating_point="youden").threshold for name in "ab"]
    draws = [[f1(y, s, weight, cut)[0] for y, s, cut in zip(truth, scores, cuts, strict=True)] for weight in weights]
    expected = logit_interval(np.mean(draws, axis=1), value=row.value, patients=32)
    assert (row.interval.low, row.interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_bca_interval_of_calls_leans_as_leaving_out_each_patient_says() -> None:
    generator = np.random.default_rng(2)
    names, y = [f"{at:03d}" for at in range(240)], np.arange(240) % 4 == 0
    split = np.where(np.arange(240) % 3 == 0, "validate", "test")
    table = pd.DataFrame({"id": names, "patient_id": names, "split": split, "label:a": y.astype(float)})
    table["score:a"] = y + generator.normal(size=240)
    found = score_predictions(table, options=ScoreOptions(resamples=100, interval="bca", calibrations=()))
    row = found.find("f1", "a", split="test", operating_point="youden")
    rows = table[table["split"] == "test"]
    truth, called = rows["label:a"].to_numpy() == 1, rows["score:a"].to_numpy() >= row.threshold

    def f1(weight: np.ndarray) -> float:
        return float(2 * weight @ (truth & called) / (weight @ truth + weight @ called))

    clusters = patient_clusters(rows["patient_id"], truth)
    draws = np.array([f1(each) for each in resample_patients(clusters, start=0, stop=100, seed=0).T])
    left_out = np.array([f1(1.0 - each) for each in np.eye(len(rows))])
    expected = bca_interval(draws, value=row.value, acceleration=acceleration(row.value - left_out, clusters))
    assert (row.interval.low, row.interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_interval_of_a_correlation_is_fishers() -> None:
    row = Metric(metric="mcc", label="a", value=0.5, counts=Counts(n=9, patients=9))
    draws = np.array([0.3, 0.5, 0.7] * 20)
    found = with_draws(row, draws, form="logit", patients=10**9, signed=True)
    reach = 1.959963984540054 * draws.std(ddof=1) / (1 - 0.5**2)
    assert [found.interval.low, found.interval.high] == pytest.approx(
        np.tanh(np.arctanh(0.5) + reach * np.array([-1, 1]))
    )


def test_mixed_up_patients_and_validation_are_refused(table: pd.DataFrame) -> None:
    parts = {split: rows.drop(columns="split") for split, rows in table.groupby("split")}
    with pytest.raises(DataError, match=r"Patients in the predictions and in the validation table: \d+\."):
        score_predictions(parts["test"], validation=parts["test"], options=FAST)
    with pytest.raises(DataError, match="The validation table holds several splits, and all would be chosen on"):
        score_predictions(parts["test"].iloc[:4], validation=table.iloc[4:], options=FAST)  # whose training rows too
    with pytest.raises(DataError, match="hold a split 'validate' and a validation table was given too"):
        score_predictions(table, validation=parts["validate"], options=FAST)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"points": ("best",)}, "There is no rule 'best'"),
        ({"prevalences": (1.5,)}, r"The prevalence 1\.5 is no share"),
        ({"level": 95.0}, "The level 95 is no share"),
        ({"policy": "u_multi"}, "There is no policy 'u_multi' for uncertain labels"),
        ({"interval": "wald"}, "There is no interval 'wald'"),
        ({"calibrations": ("spline",)}, "There is no calibration 'spline'"),
        ({"resamples": -1}, "resamples must be 0 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(change, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ScoreOptions(**change)


def test_stored_options_are_read_back_or_refused() -> None:
    options = ScoreOptions(points=("cost_5",), prevalences=(0.1,))
    assert ScoreOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    with pytest.raises(ConfigError, match="The stored options name 'colour'"):
        ScoreOptions.from_dict({"colour": 1})
    with pytest.raises(ConfigError, match="The stored option seed cannot be read"):
        ScoreOptions.from_dict({"seed": "x"})

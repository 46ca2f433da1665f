"""The audit of a predictions table: which numbers it gives, which it refuses, and what it flags."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from medvlp.core.errors import ConfigError
from medvlp.evaluation.audit.audit import LEAST, Audit, audit_split, with_audit
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.predictions import groups_of
from medvlp.evaluation.results import Metric, load_result, write_result
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import recompute, score_predictions
from medvlp.evaluation.scoring.split import split_data
from medvlp.statistics.few import TOO_FEW
from medvlp.statistics.holm import holm

FAST = ScoreOptions(resamples=0)


def _table(rows: int = 800, seed: int = 0, *, women: float = 1.5) -> pd.DataFrame:
    """Two findings; sites see different shares of them; `women` is how well women's are seen (men's: 1.5)."""
    generator = np.random.default_rng(seed)
    patient = np.arange(rows) // 2
    sex = np.where(generator.random(rows // 2 + 1) < 0.5, "F", "M")[patient]
    site = generator.choice(["north", "south", "east"], size=rows)
    table = pd.DataFrame({"id": np.arange(rows), "patient_id": patient, "group:sex": sex, "group:site": site})
    for finding in ("effusion", "edema"):
        truth = generator.random(rows) < np.where(site == "north", 0.5, 0.2)
        shift = np.where(sex == "F", women, 1.5)
        z = shift * (generator.normal(size=rows) + shift * truth) - shift**2 / 2
        table[f"label:{finding}"] = truth.astype(float)
        # The prior of all sites together: a site's own would be a shortcut.
        table[f"score:{finding}"] = 1 / (1 + np.exp(-z - np.log(0.3 / 0.7)))
    return table


def _audit(table: pd.DataFrame, options: ScoreOptions = FAST) -> Audit:
    findings = [c.removeprefix("label:") for c in table.columns if c.startswith("label:")]
    return audit_split(split_data(table, findings, name="test", options=options))


def _row(audit: Audit, metric: str, group: str, label: str) -> Metric:
    rows = [row for row in audit.rows if (row.metric, row.group, row.label) == (metric, group, label)]
    assert len(rows) == 1
    return rows[0]


def test_a_gap_is_the_difference_of_the_areas_of_a_group_and_of_all_others() -> None:
    table = _table(women=0.3)
    audit = _audit(table)
    gap = _row(audit, "auroc_gap", "sex=F", "edema")
    assert gap.value == pytest.approx((gap.test.second or 0) - (gap.test.first or 0))
    result = evaluate_scores(table, seed=0, resamples=0)
    assert gap.test.second == pytest.approx(result.find("auroc", "edema", group="sex=F").value)
    assert gap.test.first == pytest.approx(result.find("auroc", "edema", group="sex=M").value)
    assert gap.counts.n == int((table["group:sex"] == "F").sum())
    macro = _row(audit, "auroc_gap", "sex=F", "macro")
    values = [_row(audit, "auroc_gap", "sex=F", finding).value or 0.0 for finding in ("effusion", "edema")]
    assert macro.value == pytest.approx(np.mean(values))
    assert macro.counts.labels_used == 2
    assert macro.interval.low is not None
    assert macro.interval.high is not None
    assert macro.interval.low < (macro.value or 0) < macro.interval.high < 0


def test_two_columns_are_crossed() -> None:
    table = _table()
    audit = _audit(table)
    chosen = (table["group:sex"] == "F") & (table["group:site"] == "north")
    row = _row(audit, "auroc", "sex & site=F & north", "effusion")
    assert row.counts.n == int(chosen.sum())
    assert row.counts.positives == int(table.loc[chosen, "label:effusion"].sum())
    assert row.counts.patients == table.loc[chosen, "patient_id"].nunique()
    assert row.value is not None
    assert len({row.group for row in audit.rows if row.metric == "auroc"}) == 6


def test_a_small_group_has_no_number_anywhere() -> None:
    table = _table()
    # Nine patients with the finding, and any number without it.
    small = table.index[(table["label:effusion"] == 1) & (table["group:sex"] == "F")]
    first = table.loc[small].drop_duplicates("patient_id").index[:9]
    table["group:source"] = "archive"
    table.loc[[*first, *table.index[table["label:effusion"] == 0][:100]], "group:source"] = "clinic"
    table["split"] = np.where(table["patient_id"] % 2, "test", "validate")
    for result in (
        score_predictions(table, options=ScoreOptions(resamples=20)),
        with_audit(evaluate_scores(table.drop(columns="split"), seed=0, resamples=20), FAST),
    ):
        rows = [row for row in result.metrics if row.group == "source=clinic" and row.label == "effusion"]
        rows = [row for row in rows if "conformal" not in row.metric and row.metric != "abstention"]
        rows = [row for row in rows if not row.metric.startswith("shortcut")]
        assert {"auroc", "average_precision", "auroc_gap"} <= {row.metric for row in rows}
        assert all(row.value is None and row.interval.low is None for row in rows)
        assert {row.reason for row in rows} == {"n_too_small"}


def test_a_mean_over_no_finding_counts_the_cases_of_its_group() -> None:
    table = _table()
    table["group:source"] = np.where(table["patient_id"] < 6, "clinic", "archive")
    women = (table["patient_id"] < 6) & (table["group:sex"] == "F")
    groups = {("auroc_gap", "source=clinic"): 12, ("auroc", "sex & source=F & clinic"): int(women.sum())}
    for (metric, group), cases in groups.items():
        row = _row(_audit(table), metric, group, "macro")
        assert (row.value, row.reason) == (None, "n_too_small")
        assert (row.counts.n, row.counts.patients, row.counts.positives) == (cases, cases // 2, 0)


def test_the_worst_group_of_each_column_is_named_without_an_interval() -> None:
    audit = _audit(_table(women=0.3))
    worst = {str(row.group).partition("=")[0]: row for row in audit.rows if row.metric == "worst_auroc_gap"}
    assert set(worst) == {"sex", "site"}
    assert worst["sex"].group == "sex=F"
    gaps = [row.value for row in audit.rows if row.metric == "auroc_gap" and row.label == "macro"]
    assert worst["site"].value in gaps
    assert worst["site"].interval.low is None


def test_a_planted_gap_is_flagged_and_an_equal_model_is_not() -> None:
    flags = _audit(_table(women=0.3)).flags
    assert [(flag.kind, flag.name) for flag in flags] == [("subgroup_gap", "sex")]
    assert "for sex F" in flags[0].sentence
    assert "Mean AUROC of 2 findings:" in flags[0].sentence
    assert flags[0].p_holm >= flags[0].p
    assert _audit(_table()).flags == ()


def test_prevalence_that_differs_by_site_is_no_shortcut() -> None:
    table = _table(4000)
    # Scores that know nothing but the label: the site's prevalence still tells them apart where labels are ignored.
    for finding in ("effusion", "edema"):
        table[f"score:{finding}"] = table[f"label:{finding}"] * 2 + np.random.default_rng(1).normal(size=len(table))
    audit = _audit(table)
    everybody = _row(audit, "shortcut_auroc_all", "site=north", "edema")
    honest = _row(audit, "shortcut_auroc", "site=north", "edema")
    assert (everybody.interval.low or 0) > 0.55
    assert (honest.interval.low or 0) < 0.5 < (honest.interval.high or 1)
    assert [flag for flag in audit.flags if flag.kind == "shortcut"] == []


def test_what_the_other_labels_explain_is_no_shortcut() -> None:
    table = _table(4000)
    generator = np.random.default_rng(2)
    table["score:edema"] = 2 * table["label:edema"] + 2 * table["label:effusion"] + generator.normal(size=len(table))
    table["score:effusion"] = 2 * table["label:effusion"] + generator.normal(size=len(table))
    audit = _audit(table)
    honest = _row(audit, "shortcut_auroc", "site=north", "edema")
    assert (honest.interval.low or 0) < 0.5 < (honest.interval.high or 1)
    assert audit.flags == ()
    # Where nobody knows the other label, it is one.
    table["label:effusion"] = np.nan
    assert [flag.name for flag in _audit(table.drop(columns=["label:effusion", "score:effusion"])).flags] == ["site"]


def test_a_score_that_knows_the_site_is_flagged_with_its_area() -> None:
    table = _table()
    for finding in ("effusion", "edema"):
        table[f"score:{finding}"] = 2 * table[f"label:{finding}"] + np.random.default_rng(3).normal(size=len(table))
    table["score:edema"] += np.where(table["group:site"] == "south", 1.19, 0.0)
    audit = _audit(table)
    assert _row(audit, "shortcut_auroc", "site=south", "edema").value == pytest.approx(0.8, abs=0.06)
    flag = next(flag for flag in audit.flags if flag.kind == "shortcut")
    assert flag.name == "site"
    assert "The score of edema knows site south" in flag.sentence
    assert not any(row.metric.startswith("shortcut") and str(row.group).startswith("sex") for row in audit.rows)


def test_probabilities_are_tested_where_scores_were_said_to_be_some() -> None:
    table = _table()
    (untested,) = [row for row in _audit(table).rows if row.metric == "miscalibration_test"]
    assert (untested.value, untested.reason) == (None, "no_probabilities")
    probable = ScoreOptions(resamples=0, probabilities=True)
    assert _audit(table, probable).flags == ()
    odds = np.log(table["score:edema"] / (1 - table["score:edema"]))
    sure = _audit(table.assign(**{"score:edema": 1 / (1 + np.exp(-2 * odds))}), probable)
    assert [(flag.kind, flag.name) for flag in sure.flags] == [("miscalibration", "scores")]
    sentence = sure.flags[0].sentence
    assert "of edema are too extreme: calibration slope 0.49 (95 % 0.42 to 0.57; 1 is right)" in sentence


def test_a_map_of_validation_rows_is_flagged_where_calibration_has_moved_and_not_for_a_small_sample() -> None:
    def scored(moved: float, seed: int) -> set[str]:
        table = _table(1200, seed).drop(columns=["group:sex", "group:site"])
        table["split"] = np.where(table["patient_id"] < 100, "validate", "test")
        odds = np.log(table["score:edema"] / (1 - table["score:edema"]))
        odds += np.where(table["split"] == "test", moved, 0.0)
        table["score:edema"] = odds
        table = table.drop(columns=["label:effusion", "score:effusion"])
        options = ScoreOptions(resamples=0, calibrations=("platt",))
        return {flag.name for flag in score_predictions(table, options=options).flags}

    assert [scored(0.0, seed) for seed in range(3)].count(set()) >= 2
    assert scored(2.0, 0) == {"platt"}


def test_all_tests_of_the_report_are_corrected_together() -> None:
    audit = _audit(_table(women=0.6), ScoreOptions(resamples=0, probabilities=True))
    tests = [row for row in audit.rows if row.metric.endswith("_test")]
    names = sorted((row.metric, str(row.group).partition("=")[0]) for row in tests)
    assert [metric for metric, _ in names] == [
        "miscalibration_test",
        "shortcut_test",
        "subgroup_gap_test",
        "subgroup_gap_test",
    ]
    assert [row.test.p_corrected for row in tests] == pytest.approx(holm([row.test.p for row in tests]))
    assert {row.test.tests for row in tests} == {4}


def test_a_gap_too_small_to_matter_is_no_flag_however_many_cases() -> None:
    generator = np.random.default_rng(4)
    rows = 60_000
    truth, sex = generator.random(rows) < 0.5, generator.random(rows) < 0.5
    table = pd.DataFrame({"id": np.arange(rows), "patient_id": np.arange(rows), "label:edema": truth.astype(float)})
    table["group:sex"] = np.where(sex, "F", "M")
    table["score:edema"] = np.where(sex, 1.40, 1.53) * truth + generator.normal(size=rows)
    audit = _audit(table)
    (row,) = [row for row in audit.rows if row.metric == "subgroup_gap_test"]
    assert (row.test.p_corrected or 1) < 0.001
    assert abs(row.value or 1) < LEAST["subgroup_gap"]
    assert audit.flags == ()


def test_rates_are_compared_at_the_thresholds_of_validation() -> None:
    table = _table()
    table["split"] = np.where(table["patient_id"] % 2, "test", "validate")
    result = score_predictions(table, options=ScoreOptions(resamples=0, points=("youden",)))
    gap = result.find("sensitivity_gap", "edema", group="sex=F", operating_point="youden")
    mine, theirs = (
        result.find("sensitivity", "edema", group=group, operating_point="youden") for group in ("sex=F", "sex=M")
    )
    assert gap.value == pytest.approx((mine.value or 0) - (theirs.value or 0))
    assert gap.interval.low is not None
    assert gap.interval.high is not None
    assert gap.interval.low < (gap.value or 0) < gap.interval.high
    assert 0 < (gap.test.p or 0) <= 1
    assert (gap.test.p_corrected or 0) >= (gap.test.p or 0)


def test_flags_are_stored_and_made_again(tmp_path) -> None:
    result = score_predictions(_table(women=0.3), options=ScoreOptions(resamples=20))
    assert [flag.name for flag in result.flags] == ["sex"]
    write_result(result, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["flags"][0]["kind"] == "subgroup_gap"
    loaded = load_result(tmp_path / "r.json")
    assert loaded.flags == result.flags
    again = recompute(loaded)
    assert again.flags == result.flags
    assert again.metrics == result.metrics


def test_ages_are_compared_in_bands() -> None:
    ages = ["", "7", "19.9", "20", "64", "103", "999"]
    bands = groups_of(pd.DataFrame({"group:age": ages}), ["x"])
    found = {group.name: np.flatnonzero(group.rows).tolist() for group in bands}
    assert found == {"age=0-19": [1, 2], "age=20-39": [3], "age=60-79": [4], "age=80+": [5], "age=over 120": [6]}
    words = groups_of(pd.DataFrame({"group:age": ["child", "adult"]}), ["x"])
    assert [group.name for group in words] == ["age=adult", "age=child"]


def test_a_column_of_one_value_or_of_one_finding_is_not_audited() -> None:
    table = _table().drop(columns=["group:site"])
    table["group:sex"] = "F"
    table["group:size@edema"] = np.where(table["label:edema"] == 1, "large", "")
    assert _audit(table) == Audit((), ())


def test_a_group_of_one_patient_is_refused() -> None:
    with pytest.raises(ConfigError, match="min_group is 1: a group needs 2 patients with a finding and 2 without"):
        ScoreOptions(min_group=1)


def test_a_group_of_fewer_than_five_patients_of_a_class_is_neither_tested_nor_told_an_interval() -> None:
    """Asked for by a small min_group: the number is there, on the side of the few and on that of all others."""
    table = _table().drop(columns="group:site")
    women = table["group:sex"] == "F"
    few = [table.index[women & (table[f"label:{each}"] == 1)][3:] for each in ("effusion", "edema")]
    table = table.drop(index=few[0].union(few[1])).assign(**{"group:source": lambda rows: rows["group:sex"]})
    audit = _audit(table, ScoreOptions(resamples=0, min_group=2, shortcuts=("source",)))
    gaps = [row for row in audit.rows if row.metric == "auroc_gap" and row.group in ("sex=F", "sex=M")]
    assert len(gaps) == 6
    shortcuts = [row for row in audit.rows if row.metric == "shortcut_auroc_positives"]
    assert len(shortcuts) == 4
    for row in (*gaps, *shortcuts):
        assert row.value is not None
        assert row.interval.low is row.test.p is None
        assert row.reason in TOO_FEW
    assert not [flag for flag in audit.flags if flag.kind == "subgroup_gap"]

"""Comparisons are paired, over patients, corrected; and refused where the two sides are not of the same cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp.core.errors import ConfigError, DataError
from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.report_text import evaluate_reports
from medvlp.evaluation.results import Result, load_result, result_text, write_result
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions
from medvlp.evaluation.tables import (
    Cell,
    Table,
    comparison_table,
    score_table,
    to_csv,
    to_latex,
    to_markdown,
    write_table,
)
from medvlp.statistics.bootstrap import bootstrap_p, patient_clusters, resample_patients
from medvlp.statistics.calibration.calibrators import Calibrator
from medvlp.statistics.delong import compare_areas
from medvlp.statistics.holm import holm

FAST = ScoreOptions(resamples=0)


def _table(noise: float, seed: int, rows: int = 360) -> pd.DataFrame:
    cohort, generator = np.random.default_rng(0), np.random.default_rng(seed)
    patient = cohort.integers(0, rows // 3, rows)
    table = pd.DataFrame({"id": [f"S{i}" for i in range(rows)], "patient_id": [f"P{p}" for p in patient]})
    table["split"] = np.where(patient % 3 == 0, "validate", "test")
    for finding in ("effusion", "lung_mass", "edema"):
        label = (cohort.random(rows) < 0.3).astype(float)
        table[f"score:{finding}"] = 1 / (1 + np.exp(-(label + noise * generator.normal(size=rows) - 0.5)))
        label[cohort.random(rows) < 0.05] = -1
        table[f"label:{finding}"] = label
    return table


@pytest.fixture(scope="module")
def first() -> Result:
    return score_predictions(_table(0.8, 1), options=FAST, title="ours")


@pytest.fixture(scope="module")
def second() -> Result:
    return score_predictions(_table(1.4, 2), options=FAST, title="theirs")


@pytest.fixture(scope="module")
def compared(first: Result, second: Result) -> Result:
    return compare_results(first, second, resamples=80, seed=4)


def _test_rows(result: Result, finding: str) -> pd.DataFrame:
    rows = result.cases[result.cases["split"] == "test"]
    return rows[rows[f"label:{finding}"].isin([0, 1])].sort_values("id")


def test_a_comparison_says_what_must_be_known_of_either_side(first: Result, second: Result) -> None:
    leaks, trained = "The split leaks.", "The model's training: its split is not known."
    sides = replace(first, split="h", caveats=(leaks, trained)), replace(second, split="h", caveats=(leaks,))
    found = compare_results(*sides, resamples=0)
    assert (found.caveats, found.split) == ((leaks, trained), "h")
    assert comparison_table(found).notes[-2:] == (leaks, trained)
    assert compare_results(sides[0], second, resamples=0).split == ""


def test_aurocs_are_compared_by_clustered_delong(first: Result, second: Result, compared: Result) -> None:
    p = []
    for finding in ("effusion", "lung_mass", "edema"):
        one, other = _test_rows(first, finding), _test_rows(second, finding)
        test = compare_areas(
            one[f"label:{finding}"], one[f"score:{finding}"], other[f"score:{finding}"], one["patient_id"]
        )
        row = compared.find("auroc_difference", finding)
        assert (row.value, row.interval.low, row.interval.high, row.test.p) == pytest.approx(
            (test.difference, test.low, test.high, test.p)
        )
        assert (row.test.first, row.interval.method) == (
            first.find("auroc", finding, split="test").value,
            "delong_clustered",
        )
        p.append(row.test.p)
    corrected = [
        compared.find("auroc_difference", finding).test.p_corrected for finding in ("effusion", "lung_mass", "edema")
    ]
    assert corrected == pytest.approx(holm(p))
    assert compared.find("auroc_difference", "effusion").test.tests == 3
    macro = compared.find("auroc_difference", "macro")
    assert (macro.test.tests, macro.test.p_corrected) == (1, macro.test.p)
    assert macro.value == pytest.approx(
        np.mean([compared.find("auroc_difference", f).value for f in ("effusion", "lung_mass", "edema")])
    )


def test_all_else_is_a_paired_bootstrap_of_patients(first: Result, second: Result, compared: Result) -> None:
    one, other = (result.cases[result.cases["split"] == "test"].sort_values("id") for result in (first, second))
    any_positive = (one[["label:effusion", "label:lung_mass", "label:edema"]] == 1).any(axis=1)
    clusters = patient_clusters(one["patient_id"].astype(str), any_positive)
    weights = resample_patients(clusters, start=0, stop=80, seed=4)
    known = one["label:edema"].isin([0, 1]).to_numpy()
    truth = one.loc[known, "label:edema"].to_numpy()
    draws = [
        average_precision_score(truth, other.loc[known, "score:edema"], sample_weight=mass)
        - average_precision_score(truth, one.loc[known, "score:edema"], sample_weight=mass)
        for mass in weights[clusters.patient][known].T
    ]
    row = compared.find("average_precision_difference", "edema")
    assert [row.interval.low, row.interval.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-12)
    assert row.test.p == bootstrap_p(np.array(draws))


def test_the_interval_of_a_mean_difference_is_of_the_mean_in_each_resample(
    first: Result, second: Result, compared: Result
) -> None:
    one, other = (result.cases[result.cases["split"] == "test"].sort_values("id") for result in (first, second))
    findings = ["effusion", "lung_mass", "edema"]
    any_positive = (one[[f"label:{name}" for name in findings]] == 1).any(axis=1)
    clusters = patient_clusters(one["patient_id"].astype(str), any_positive)
    weights = resample_patients(clusters, start=0, stop=80, seed=4)[clusters.patient]

    def area(table: pd.DataFrame, name: str, b: int) -> float:
        known = one[f"label:{name}"].isin([0, 1]).to_numpy()
        return roc_auc_score(
            one[f"label:{name}"][known], table[f"score:{name}"][known], sample_weight=weights[known, b]
        )

    draws = [np.mean([area(other, name, b) - area(one, name, b) for name in findings]) for b in range(80)]
    row = compared.find("auroc_difference", "macro")
    assert [row.interval.low, row.interval.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-12)


def test_thresholds_and_calibrations_are_each_sides_own(first: Result, second: Result, compared: Result) -> None:
    row = compared.find("sensitivity_difference", "edema", operating_point="youden")
    sides = [
        result.find("sensitivity", "edema", split="test", operating_point="youden").value for result in (first, second)
    ]
    assert (row.test.first, row.test.second, row.value) == pytest.approx((*sides, sides[1] - sides[0]))
    losses = []
    for result in (first, second):
        rows = _test_rows(result, "edema")
        map_ = Calibrator.from_dict(result.fitted["edema"]["calibration"]["platt"])
        losses.append(np.mean((map_.probabilities(rows["score:edema"]) - rows["label:edema"]) ** 2))
    row = compared.find("brier_difference", "edema", calibration="platt")
    assert (row.test.first, row.test.second) == pytest.approx(losses)


def test_a_result_does_not_differ_from_itself(first: Result) -> None:
    found = compare_results(first, first, resamples=40)
    assert found.metrics
    assert {(row.value, row.test.p) for row in found.metrics} == {(0.0, 1.0)}


def test_turned_round_the_signs_turn_round(first: Result, second: Result, compared: Result) -> None:
    turned = compare_results(second, first, resamples=80, seed=4)
    for one, other in zip(compared.metrics, turned.metrics, strict=True):
        assert one.value == pytest.approx(-other.value)
        assert one.interval.low == pytest.approx(-other.interval.high)
        assert one.test.p == pytest.approx(other.test.p)


def test_the_order_of_rows_does_not_matter(first: Result, second: Result, compared: Result) -> None:
    shuffled = replace(second, cases=second.cases.sample(frac=1, random_state=0))
    assert compare_results(first, shuffled, resamples=80, seed=4).metrics == compared.metrics


def test_other_cases_are_refused_or_left_out_and_counted(first: Result, second: Result) -> None:
    fewer = replace(second, cases=second.cases[second.cases["id"] != "S1"])
    assert (second.cases.set_index("id").loc["S1", "split"]) == "test"
    with pytest.raises(DataError, match=r"1 are only in the first and 0 only in the second; .* \(--common\)"):
        compare_results(first, fewer, resamples=0)
    found = compare_results(first, fewer, resamples=0, common=True)
    assert found.options["left_out"] == {"first": 1, "second": 0}
    assert found.caveats == ("Of one result alone, and not compared: 1 cases.",)
    fewer = replace(fewer, cases=fewer.cases.drop(columns=["label:edema", "score:edema"]))
    found = compare_results(first, fewer, resamples=0, common=True)
    assert comparison_table(found).notes[-1] == "Of one result alone, and not compared: 1 cases, edema."
    other = replace(second, cases=second.cases.assign(id=second.cases["id"] + "x"))
    for common in (False, True):
        with pytest.raises(DataError, match="share no case: score the same cases"):
            compare_results(first, other, common=common)


def _with(result: Result, column: str, value: object) -> Result:
    cases = result.cases.copy()
    at = cases.index[(cases["split"] == "test") & cases["label:edema"].isin([0, 1])][0]
    cases.loc[at, column] = value
    return replace(result, cases=cases)


def test_other_labels_patients_or_policies_are_refused(first: Result, second: Result) -> None:
    with pytest.raises(DataError, match=r"Other label:edema in 1 of \d+ cases of the second result"):
        compare_results(first, _with(second, "label:edema", -1))
    with pytest.raises(DataError, match=r"Other patient_id in 1 of \d+ cases"):
        compare_results(first, _with(second, "patient_id", "nobody"))
    with pytest.raises(DataError, match="treat uncertain labels as u_ignore and u_ones"):
        compare_results(first, replace(second, options={**second.options, "policy": "u_ones"}))
    with pytest.raises(DataError, match="has no per-case table"):
        compare_results(first, replace(second, cases=None))
    with pytest.raises(DataError, match="has no scores case by case"):
        compare_results(first, replace(second, cases=second.cases.drop(columns="id")))
    shots = second.cases.rename(columns=lambda name: name.replace("score:", "few_shot:"))
    with pytest.raises(DataError, match="has no scores case by case"):
        compare_results(first, replace(second, cases=shots))
    with pytest.raises(DataError, match="has no cases of split 'train'"):
        compare_results(first, second, split="train")
    renamed = second.cases.rename(
        columns=lambda name: name.replace("effusion", "a").replace("lung_mass", "b").replace("edema", "c")
    )
    with pytest.raises(DataError, match="share no finding"):
        compare_results(first, replace(second, cases=renamed))


def test_an_average_counts_the_findings_that_it_is_over(first: Result, second: Result) -> None:
    # A threshold above all scores calls nothing: the second side has no PPV of edema, and so has the difference.
    fitted = {**second.fitted, "edema": {"operating_points": {"youden": {"threshold": 9.0}}}}
    found = compare_results(first, replace(second, fitted=fitted), resamples=20)
    parts = [row for row in found.metrics if row.metric == "ppv_difference" and row.operating_point == "youden"]
    assert [row.label for row in parts] == ["effusion", "lung_mass", "macro"]
    assert parts[-1].counts.labels_used == 2
    assert parts[-1].value == pytest.approx((parts[0].value + parts[1].value) / 2)
    assert found.find("auroc_difference", "macro").counts.labels_used == 3


def test_the_average_is_over_the_findings_of_the_results_averages() -> None:
    few = replace(FAST, min_positives=60)
    sides = [score_predictions(_table(noise, seed), options=few) for noise, seed in ((0.8, 1), (1.4, 2))]
    reported = [side.find("auroc", "macro", split="test") for side in sides]
    row = compare_results(*sides, resamples=0).find("auroc_difference", "macro")
    assert row.counts.labels_used == reported[0].counts.labels_used == 2
    assert (row.test.first, row.test.second) == pytest.approx((reported[0].value, reported[1].value))


def test_two_scores_that_both_divide_the_classes_have_a_difference_and_no_test() -> None:
    names, rising = list("abcdefghij"), np.linspace(0.05, 0.95, 10)
    table = pd.DataFrame({"id": names, "patient_id": names, "label:edema": [0] * 5 + [1] * 5})
    sides = [table.assign(**{"score:edema": scores}) for scores in (rising, rising[::-1])]
    found = compare_results(*(score_predictions(side, options=FAST) for side in sides), resamples=50)
    row = found.find("auroc_difference", "edema")
    assert (row.value, row.test.p, row.interval.low, row.interval.method, row.reason) == (
        -1.0,
        None,
        None,
        "none",
        "separated",
    )


def test_a_difference_that_every_resample_repeats_has_no_test() -> None:
    """All right on one side, all wrong on the other, in 10 patients: no sign of how sure that is."""
    names, rising = [f"{i:02}" for i in range(40)], np.linspace(0.05, 0.95, 10)
    table = pd.DataFrame({"id": names, "patient_id": names, "split": ["validate"] * 20 + ["test"] * 20})
    for name in ("edema", "mass"):
        table[f"label:{name}"] = ([0] * 10 + [1] * 10) * 2
    good = np.concatenate([rising / 2, 0.5 + rising / 2] * 2)
    bad = np.where(np.arange(40) < 20, good, 1 - good)
    sides = [table.assign(**{f"score:{name}": scores for name in ("edema", "mass")}) for scores in (good, bad)]
    found = compare_results(*(score_predictions(side, options=FAST) for side in sides), resamples=50)
    for metric, label, point in (("sensitivity", "edema", "youden"), ("auroc", "macro", None)):
        row = found.find(f"{metric}_difference", label, operating_point=point)
        assert (row.value, row.test.p, row.interval.low, row.interval.method) == (-1.0, None, None, "none")
        assert row.reason == "no_spread"


def test_two_scores_that_tell_nothing_differ_by_the_rounding_of_their_fits_and_not_surely(first: Result) -> None:
    """Both maps say the share of the validation rows; that rounding may have one sign in every resample."""
    columns = [f"score:{name}" for name in ("effusion", "lung_mass", "edema")]
    sides = [first.cases.assign(**dict.fromkeys(columns, score)) for score in (1.0, 0.5)]
    found = compare_results(*(score_predictions(side, options=FAST) for side in sides), resamples=80)
    rows = [row for row in found.metrics if row.calibration in ("platt", "dirichlet", "isotonic")]
    assert len(rows) == 12
    assert {row.test.p for row in rows} == {1.0}


def test_a_bootstrap_p_is_twice_the_smaller_tail_and_never_0() -> None:
    draws = np.array([-1.0] * 3 + [1.0] * 96 + [np.nan])
    assert bootstrap_p(draws) == pytest.approx(2 * 4 / 100)
    assert bootstrap_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.full(99, 5e-17)) == 1.0  # rounding is no sign


def test_a_comparison_is_written_in_the_form_of_results(compared: Result, tmp_path) -> None:
    write_result(compared, tmp_path / "d.json")
    assert load_result(tmp_path / "d.json") == compared
    assert '"schema": "medvlp.results/1"' in result_text(compared)


def test_a_name_in_a_table_runs_nothing_in_a_spreadsheet_and_a_negative_number_stays_one() -> None:
    found = Table("", ("A", "@B", "C"), (("=1+1", "-2+3", Cell(-0.12, -0.2, -0.1)), ("-", 4, Cell(None))))
    assert to_csv(found) == "A,'@B,C,C low,C high\n'=1+1,'-2+3,-0.12,-0.2,-0.1\n-,4,,,\n"


def test_tables_say_the_same_in_three_forms(first: Result, compared: Result, tmp_path) -> None:
    found = comparison_table(compared)
    row = compared.find("auroc_difference", "lung_mass")
    markdown, latex, numbers = to_markdown(found), to_latex(found), to_csv(found)
    around, test = row.interval, row.test
    cells = f"{row.value:.3f} ({around.low:.3f} to {around.high:.3f}) | {test.p:.4f} | {test.p_corrected:.4f}"
    assert f"| {cells} |" in markdown
    assert "lung mass & " in latex
    assert r"\toprule" in latex
    line = next(line for line in numbers.splitlines() if line.startswith("lung mass"))
    assert [float(each) for each in line.split(",")[6:9]] == [row.value, row.interval.low, row.interval.high]
    scores = score_table(first)
    assert scores.columns[:6] == ("Finding", "n", "positive", "patients", "AUROC", "AP")
    assert "Thresholds were chosen on validation patients by the rule youden" in to_markdown(scores)
    assert not [name for name in scores.columns if "oracle" in name]
    for ending, text in ((".md", markdown), (".tex", latex), (".csv", numbers)):
        write_table(found, tmp_path / f"t{ending}")
        assert (tmp_path / f"t{ending}").read_text() == text
    with pytest.raises(ConfigError, match=r"use \.md, \.tex or \.csv"):
        write_table(found, tmp_path / "t.docx")
    with pytest.raises(ConfigError, match="The comparison has no 'dice'"):
        comparison_table(compared, metric="dice")
    with pytest.raises(ConfigError, match="has no 'auroc': no finding has cases with it and without it"):
        comparison_table(replace(compared, metrics=()))
    with pytest.raises(ConfigError, match="has 'auroc' at no operating point, not at 'youden'"):
        comparison_table(compared, metric="auroc", point="youden")
    with pytest.raises(ConfigError, match=r"has 'f1' at youden, sensitivity_0\.9, .*, max_f1, not at 'x'"):
        comparison_table(compared, metric="f1", point="x")
    assert comparison_table(compared, metric="f1").caption == "f1 (youden): theirs against ours"
    assert len(comparison_table(compared, metric="f1").rows) == 4
    assert comparison_table(compared, metric="brier").caption == "brier (platt): theirs against ours"


def test_a_table_of_synthetic_cases_says_so_and_a_name_of_two_lines_stays_in_its_row(
    first: Result, compared: Result
) -> None:
    for made, result in ((score_table, first), (comparison_table, compared)):
        for synthetic in (False, True):
            table = made(replace(result, synthetic=synthetic))
            assert [form(table).count("Synthetic data") for form in (to_markdown, to_latex)] == [synthetic] * 2
    assert "| a b\\|c | 1 |" in to_markdown(Table("t", ("x", "n"), (("a\nb|c", 1),)))


def test_written_reports_have_no_table_of_scores() -> None:
    reports = evaluate_reports(["Edema."], ["Edema."], ["p"], seed=0, resamples=0)
    with pytest.raises(ConfigError, match="ranks no finding, which a table is of: leave --table out"):
        score_table(reports)


def test_latex_takes_any_name() -> None:
    odd = _table(1.0, 3).rename(columns=lambda name: name.replace("edema", "a_b & 5% {x}\\ > | <"))
    text = to_latex(score_table(score_predictions(odd, options=FAST, title="A & B")))
    assert r"a b \& 5\% \{x\}\textbackslash{} $>$ $|$ $<$" in text
    assert r"\caption{A \& B, test split}" in text


def test_where_nothing_was_chosen_the_table_says_what_was_tuned_on_the_test() -> None:
    table = score_table(score_predictions(_table(1.0, 3).drop(columns="split"), options=FAST))
    assert table.columns[4:] == ("AUROC", "AP", "oracle F1")
    assert any(note.startswith("oracle: the threshold was tuned on these very cases") for note in table.notes)
    assert Cell(None).text() == "-"


def _with_a_finding_that_nobody_has() -> Result:
    table = _table(0.8, 1)
    table.insert(0, "label:aneurysm", 0.0)
    return score_predictions(
        table.assign(**{"score:aneurysm": 0.5}), options=ScoreOptions(resamples=40, level=0.975), title="ours"
    )


def test_a_table_says_how_its_intervals_were_made_where_the_first_finding_has_none() -> None:
    made = score_table(_with_a_finding_that_nobody_has())
    assert made.rows[0][0] == "aneurysm"
    assert "AUROC and AP: logit of 40 resamples." in made.notes[0]


def test_tables_name_the_level_that_was_asked_for_and_not_one_near_it() -> None:
    ours = _with_a_finding_that_nobody_has()
    assert score_table(ours).notes[0].startswith("97.5% intervals over patients; ")
    found = comparison_table(compare_results(ours, ours, resamples=20, level=0.999))
    assert "with the 99.9% interval" in found.notes[0]


def test_on_the_rows_that_thresholds_were_chosen_on_rankings_alone_are_compared(first: Result, second: Result) -> None:
    held_out = compare_results(first, second, split="validate", resamples=20)
    assert {row.metric for row in held_out.metrics} == {"auroc_difference", "average_precision_difference"}
    judged = compare_results(first, second, resamples=20)
    assert {"f1_difference", "brier_difference"} < {row.metric for row in judged.metrics}

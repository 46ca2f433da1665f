"""Statistics of a predictions table: per finding, macro, groups, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp.core.errors import DataError
from medvlp.evaluation.classification import evaluate_scores, size_terciles
from medvlp.statistics.bootstrap import patient_clusters, resample_patients


def _table(rows: int = 240, patients: int = 90, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "id": [f"S{index}" for index in range(rows)],
            "patient_id": [f"P{index}" for index in generator.integers(0, patients, rows)],
        }
    )
    for finding, prevalence in (("effusion", 0.3), ("nodule", 0.15)):
        label = (generator.random(rows) < prevalence).astype(float)
        table[f"score:{finding}"] = label + generator.normal(size=rows)
        label[generator.random(rows) < 0.1] = -1
        label[generator.random(rows) < 0.1] = np.nan
        table[f"label:{finding}"] = label
    return table


def _evaluate(table: pd.DataFrame, resamples: int = 100, **options):
    return evaluate_scores(table, seed=3, resamples=resamples, **options)


def test_each_finding_is_scikit_learn_on_its_known_rows_and_macro_is_their_mean() -> None:
    table = _table()
    result = _evaluate(table)
    expected = []
    for finding in ("effusion", "nodule"):
        known = table[table[f"label:{finding}"].isin([0, 1])]
        truth, scores = known[f"label:{finding}"], known[f"score:{finding}"]
        row = result.find("auroc", finding)
        assert row.value == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
        assert result.find("average_precision", finding).value == pytest.approx(average_precision_score(truth, scores))
        assert (row.counts.n, row.counts.positives, row.counts.patients) == (
            len(known),
            int(truth.sum()),
            known["patient_id"].nunique(),
        )
        assert row.policy == "u_ignore"
        assert row.counts.prevalence == result.find("average_precision", finding).chance == truth.mean()
        expected.append(row.value)
    macro = result.find("auroc", "macro")
    assert macro.value == pytest.approx(np.mean(expected), abs=1e-15)
    known = table[table[["label:effusion", "label:nodule"]].isin([0, 1]).any(axis=1)]
    assert len(known) < len(table)  # rows that no finding knows take no part
    assert (macro.counts.labels_used, macro.counts.n, macro.chance) == (2, len(known), 0.5)
    assert macro.counts.patients == known["patient_id"].nunique()


def test_the_macro_interval_comes_from_the_same_patients_for_all_findings() -> None:
    table = _table()
    positive = (table[["label:effusion", "label:nodule"]] == 1).any(axis=1)
    clusters = patient_clusters(table["patient_id"], positive)
    weights = resample_patients(clusters, start=0, stop=50, seed=3)
    draws = []
    for resample in range(50):
        values = []
        for finding in ("effusion", "nodule"):
            known = table[f"label:{finding}"].isin([0, 1]).to_numpy()
            weight = weights[clusters.patient, resample][known]
            truth, scores = table.loc[known, f"label:{finding}"], table.loc[known, f"score:{finding}"]
            values.append(roc_auc_score(truth, scores, sample_weight=weight))
        draws.append(np.mean(values))
    macro = _evaluate(table, resamples=50, interval="percentile").find("auroc", "macro")
    assert [macro.interval.low, macro.interval.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-12)


def test_same_seed_same_numbers_and_the_stored_cases_give_them_again() -> None:
    result = _evaluate(_table())
    assert result.cases is not None
    assert _evaluate(result.cases) == result
    assert _evaluate(result.cases.sample(frac=1, random_state=1)) == result


def test_a_finding_without_positives_is_named_and_left_out_of_macro() -> None:
    table = _table()
    table["label:edema"], table["score:edema"] = 0, 0.5
    result = _evaluate(table)
    row = result.find("auroc", "edema")
    assert (row.value, row.interval.low, row.reason, row.chance) == (None, None, "no_positives", None)
    assert result.find("auroc", "macro").counts.labels_used == 2
    nothing = _evaluate(table[["id", "patient_id", "label:edema", "score:edema"]]).find("auroc", "macro")
    assert (nothing.value, nothing.counts.labels_used, nothing.reason) == (None, 0, "no_labels")


def test_few_positive_patients_are_flagged_and_may_be_kept_out_of_macro() -> None:
    table = _table()
    few = int((table["label:nodule"] == 1).sum())
    result = _evaluate(table, min_positives=few + 1)
    assert result.find("auroc", "nodule").reason == "few_positives"
    macro = result.find("auroc", "macro")
    assert (macro.counts.labels_used, macro.counts.min_positives) == (1, few + 1)
    assert macro.value == result.find("auroc", "effusion").value


@pytest.mark.parametrize("other", ["south", ""])
def test_a_group_is_the_same_numbers_on_its_rows(other: str) -> None:
    """Rows without a value are in no group, be they negative or positive."""
    table = _table()
    table["group:site"] = np.where(np.arange(len(table)) % 3 == 0, "north", other)
    north = table[(table["group:site"] == "north") & table["label:effusion"].isin([0, 1])]
    row = _evaluate(table).find("auroc", "effusion", group="site=north")
    assert row.value == pytest.approx(roc_auc_score(north["label:effusion"], north["score:effusion"]), abs=1e-12)
    assert row.counts.n == len(north)
    assert row.interval.low is not None
    assert row.interval.low < row.value < row.interval.high


def test_the_cases_of_a_groups_mean_are_those_of_which_a_finding_of_it_is_known() -> None:
    table = _table()
    table["group:site"] = np.where(np.arange(len(table)) % 3 == 0, "north", "south")
    table["label:edema"], table["score:edema"] = 0, 0.5  # known of all, and in no mean
    result = _evaluate(table)
    for rows, group in ((table, None), (table[table["group:site"] == "north"], "site=north")):
        counts = result.find("auroc", "macro", group=group).counts
        known = rows[rows[["label:effusion", "label:nodule"]].isin([0, 1]).any(axis=1)]
        most = rows[["label:effusion", "label:nodule"]].isin([0, 1]).sum().max()
        assert most < len(known) < len(rows)
        assert (counts.labels_used, counts.n, counts.patients) == (2, len(known), known["patient_id"].nunique())


def test_size_terciles_compare_each_third_of_the_positives_with_all_negatives() -> None:
    table = _table()
    positive = (table["label:nodule"] == 1).to_numpy()
    size = np.where(positive, np.arange(len(table)), 0)
    table["group:size@nodule"] = size_terciles(size, positive)
    result = _evaluate(table)
    terciles = [result.find("auroc", "nodule", group=f"size={name}") for name in ("1 small", "2 medium", "3 large")]
    assert sum(row.counts.positives for row in terciles) == positive.sum()
    assert len({row.counts.n - row.counts.positives for row in terciles}) == 1  # the same negatives
    # Negatives are shared, so the AUROC of all is the mean of the thirds weighted by their positives.
    mean = sum(row.value * row.counts.positives for row in terciles) / positive.sum()
    assert mean == pytest.approx(result.find("auroc", "nodule").value, abs=1e-12)
    assert not [row for row in result.metrics if row.label == "effusion" and row.group]


def test_splits_are_evaluated_apart() -> None:
    table = _table()
    table["split"] = np.where(table["patient_id"].str[-1].isin(list("01234")), "test", "validate")
    result = _evaluate(table)
    alone = _evaluate(table[table["split"] == "test"])
    assert result.find("auroc", "macro", split="test") == alone.find("auroc", "macro")
    with pytest.raises(DataError, match="has 2 rows of 'auroc' for 'macro'"):
        result.find("auroc", "macro")


def test_without_resamples_there_is_no_interval() -> None:
    row = _evaluate(_table(), resamples=0).find("auroc", "effusion")
    assert (row.interval.low, row.interval.method, row.interval.form) == (None, "none", "none")


def test_a_score_that_divides_the_classes_still_leaves_doubt() -> None:
    table = _table()
    table["score:effusion"] = table["label:effusion"].fillna(0) * 2
    result = _evaluate(table)
    row = result.find("auroc", "effusion")
    known = table[table["label:effusion"].isin([0, 1])]
    patients = known.groupby("label:effusion")["patient_id"].nunique().min()
    # The exact limit of m successes of m: 0.025^(1 / m).
    assert (row.value, row.interval.high, row.interval.method) == (1.0, 1.0, "exact")
    assert row.interval.low == pytest.approx(0.025 ** (1 / patients))
    precision = result.find("average_precision", "effusion")
    assert (precision.value, precision.interval.low, precision.reason) == (1.0, None, "separated")
    table["score:nodule"] = table["label:nodule"].fillna(0) * 2
    macro = _evaluate(table).find("auroc", "macro")  # the limit is of one ranking, there is none of a mean's
    assert (macro.value, macro.interval.low, macro.reason) == (1.0, None, "separated")


def test_the_chance_of_a_weighted_mean_is_weighted_likewise() -> None:
    result = _evaluate(_table(), resamples=0)
    rows = [result.find("average_precision", finding) for finding in ("effusion", "nodule")]
    positives = [row.counts.positives for row in rows]
    for what in ("value", "chance"):
        expected = np.average([getattr(row, what) for row in rows], weights=positives)
        assert getattr(result.find("average_precision", "weighted"), what) == pytest.approx(expected)


def test_blank_strings_are_missing_labels() -> None:
    table = _table()
    text = table.astype({"label:nodule": object})
    text["label:nodule"] = ["" if np.isnan(value) else str(value) for value in table["label:nodule"]]
    assert _evaluate(text) == _evaluate(table)


def _with(column: str, value: object):
    table = _table()
    table[column] = value
    return table


def _damaged(column: str, value: object):
    table = _table().astype({column: object})
    table.loc[int(np.flatnonzero(table["label:effusion"] == 1)[0]), column] = value
    return table


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            _table().drop(columns="patient_id"),
            "no column 'patient_id': add it, or name the one .* by --column patient_id=",
        ),
        (_table().drop(columns="score:nodule"), "label:nodule and no score:nodule"),
        (_table().drop(columns="label:nodule"), "score:nodule and no label:nodule"),
        (_table()[["id", "patient_id"]], "no column label:NAME"),
        (_with("id", "same"), "repeat the id in 239 of 240 rows"),
        (_with("group:size@mass", "a"), "group:size@mass and no label:mass"),
        (_with("split", ["a", "b"] * 120), r"Patients in more than one split: \d+\. Split by patient"),
        (_damaged("label:effusion", 2), "label:effusion holds 2, allowed are 1"),
        (
            _damaged("score:effusion", np.nan),
            r"score:effusion is blank, NaN or infinite in 1 of \d+ rows with a known label",
        ),
        (_damaged("score:effusion", ""), r"is blank, NaN or infinite in 1 of \d+ rows"),
        (_damaged("score:effusion", "high"), "score:effusion holds something that is not a number"),
        (_damaged("score:effusion", "0,93"), r"give numbers \(0\.93, not 0,93 or 93 %\) or blanks"),
        (_damaged("label:effusion", "present"), r"'present' .* give 1, 0, -1 \(uncertain\) or blanks"),
        (_damaged("patient_id", None), "lack 'patient_id' in 1 of 240 rows"),
    ],
)
def test_a_table_that_would_give_wrong_numbers_is_refused(table: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        _evaluate(table)


def test_a_score_may_be_missing_where_the_label_is() -> None:
    table = _table()
    table.loc[table["label:effusion"].isna() | (table["label:effusion"] == -1), "score:effusion"] = np.nan
    assert _evaluate(table).find("auroc", "effusion") == _evaluate(_table()).find("auroc", "effusion")

"""Within strata: the number is the loop over pairs, weights are copies of rows, and its interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from medvlp.core.errors import DataError
from medvlp.statistics.bootstrap import bootstrap, patient_clusters
from medvlp.statistics.intervals import logit_interval
from medvlp.statistics.stratified import stratify

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from("abc"), st.integers(0, 4)), min_size=1)


def by_loop(rows: list[tuple[bool, int, str, int]], weights: list[int]) -> tuple[float, float]:
    hits = pairs = 0.0
    for positive, score, stratum, patient in rows:
        for other, least, where, person in rows:
            if positive and not other and stratum == where:
                weight = weights[patient] * weights[person]
                hits += weight * (1.0 if score > least else 0.5 if score == least else 0.0)
                pairs += weight
    return hits, pairs


@given(rows=ROWS, weights=st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_the_number_is_the_loop_over_pairs(rows: list[tuple[bool, int, str, int]], weights: list[int]) -> None:
    truth, scores, strata, patient = (list(column) for column in zip(*rows, strict=True))
    ranks = stratify(truth, scores, strata, np.array(patient))
    both = np.stack([np.ones(5), np.array(weights, np.float64)], axis=1)
    for found, weight in zip(ranks.auroc(both), ([1] * 5, weights), strict=True):
        hits, pairs = by_loop(rows, weight)
        assert np.isnan(found) if not pairs else abs(found - hits / pairs) < 1e-12
    assert ranks.pairs == by_loop(rows, [1] * 5)[1]
    classes = {name: {row[0] for row in rows if row[2] == name} for name in set(strata)}
    mixed = {name for name, there in classes.items() if len(there) == 2}
    assert (len(ranks.strata), ranks.left_out) == (len(mixed), len(classes) - len(mixed))
    assert ranks.used.tolist() == [name in mixed for name in strata]


def test_one_stratum_is_the_plain_number_and_strata_are_not_compared() -> None:
    generator = np.random.default_rng(0)
    truth, scores = generator.random(200) < 0.4, generator.normal(size=200).round(1)
    one = stratify(truth, scores, ["x"] * 200, np.arange(200)).auroc(np.ones((200, 1)))[0]
    assert one == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    # What lifts a whole stratum, the one with the most positives say, changes nothing.
    strata = np.where(truth | (generator.random(200) < 0.2), "often", "rarely")
    plain, lifted = (
        stratify(truth, scores + lift * (strata == "often"), strata.tolist(), np.arange(200)) for lift in (0.0, 9.0)
    )
    assert plain.auroc(np.ones((200, 1))) == lifted.auroc(np.ones((200, 1)))


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        stratify([0, 1], [0.1, np.nan], ["a", "a"], np.arange(2))


def test_intervals_over_patients_hold_the_truth() -> None:
    """80 cohorts of 80 patients with 1 to 6 rows and an effect of their own, in 5 strata of other base rates."""
    generator = np.random.default_rng(7)
    rates, shift = np.array([0.2, 0.35, 0.5, 0.65, 0.8]), 1.0

    def cohort(patients: int) -> tuple[np.ndarray, ...]:
        patient = np.repeat(np.arange(patients), generator.integers(1, 7, size=patients))
        stratum = generator.integers(0, 5, size=len(patient))
        truth = generator.random(len(patient)) < rates[stratum]
        own = generator.normal(size=patients)[patient]
        return patient, stratum, truth, shift * truth + 0.7 * own + generator.normal(size=len(patient)) + 3 * stratum

    def value(rows: tuple[np.ndarray, ...]) -> float:
        patient, stratum, truth, scores = rows
        ranks = stratify(truth, scores, stratum.tolist(), patient)
        return float(ranks.auroc(np.ones((patient.max() + 1, 1)))[0])

    target = value(cohort(20_000))
    held = 0
    for seed in range(80):
        patient, stratum, truth, scores = rows = cohort(80)
        ranks, clusters = stratify(truth, scores, stratum.tolist(), patient), patient_clusters(patient)
        draws = bootstrap(lambda w, r=ranks: r.auroc(w)[:, None], clusters, resamples=100, seed=seed)[:, 0]
        found = logit_interval(draws, value=value(rows), patients=len(np.unique(patient[truth])))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= target <= found.high
    assert held >= 71, held

"""AUROC and average precision are scikit-learn's numbers, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp.core.errors import DataError
from medvlp.statistics.metrics import (
    UndefinedMetricError,
    auroc,
    auroc_of_slots,
    average_precision,
    average_precision_of_slots,
    score_levels,
)


def _cases(number: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    generator = np.random.default_rng(20240611)
    cases = []
    while len(cases) < number:
        n = int(generator.integers(2, 60))
        labels = (generator.random(n) < generator.random()).astype(int)
        # From nearly all tied to all distinct, negative logits included.
        scores = generator.integers(0, int(generator.integers(1, 200)), n) / 7.0 - 5.0
        weights = generator.random(n) * (generator.random(n) < 0.8) if len(cases) % 2 else None
        mass = np.ones(n) if weights is None else weights
        if mass[labels == 1].sum() > 0 and mass[labels == 0].sum() > 0:
            cases.append((labels, scores, weights))
    return cases


@pytest.mark.parametrize("cases", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_cases_equal_scikit_learn(cases: int) -> None:
    worst = 0.0
    for labels, scores, weights in _cases(cases):
        worst = max(
            worst,
            abs(auroc(labels, scores, weights) - roc_auc_score(labels, scores, sample_weight=weights)),
            abs(
                average_precision(labels, scores, weights)
                - average_precision_score(labels, scores, sample_weight=weights)
            ),
        )
    assert worst < 1e-12


def test_the_sorted_fast_path_equals_the_histogram_of_slots() -> None:
    for labels, scores, _ in _cases(500):
        histogram = score_levels(labels == 1, scores).histogram()
        assert auroc(labels, scores) == float(auroc_of_slots(histogram))
        assert average_precision(labels, scores) == float(average_precision_of_slots(histogram))
    for only in (True, False):  # a resample without negatives, and without positives
        histogram = score_levels(np.full(2, only), np.arange(2.0)).histogram()
        assert np.isnan([auroc_of_slots(histogram), average_precision_of_slots(histogram)]).all()


def test_auroc_is_the_chance_that_a_positive_outscores_a_negative() -> None:
    labels, scores = np.array([1, 1, 0, 0, 0]), np.array([2.0, 1.0, 1.0, 0.0, 3.0])
    won = [np.sign(p - q) / 2 + 0.5 for p in scores[labels == 1] for q in scores[labels == 0]]
    assert auroc(labels, scores) == np.mean(won)


def test_a_monotone_change_of_scale_changes_nothing() -> None:
    generator = np.random.default_rng(3)
    labels, logits = generator.integers(0, 2, 300), generator.normal(size=300) * 20
    assert auroc(labels, logits) == auroc(labels, np.arctan(logits)) == 1 - auroc(labels, -logits)


def test_integer_weights_repeat_rows() -> None:
    generator = np.random.default_rng(4)
    labels, scores = generator.integers(0, 2, 40), generator.integers(0, 9, 40)
    weights = generator.integers(0, 4, 40)
    repeated = np.repeat(labels, weights), np.repeat(scores, weights)
    assert auroc(labels, scores, weights) == pytest.approx(auroc(*repeated), abs=1e-15)
    assert average_precision(labels, scores, weights) == pytest.approx(average_precision(*repeated), abs=1e-15)


@pytest.mark.parametrize("metric", [auroc, average_precision])
def test_one_class_is_refused_with_its_reason(metric) -> None:
    with pytest.raises(UndefinedMetricError, match="none of the 2 rows is positive") as caught:
        metric([0, 0], [0.1, 0.2])
    assert caught.value.reason == "no_positives"
    with pytest.raises(UndefinedMetricError, match="none of the 2 rows is negative") as caught:
        metric([1, 1], [0.1, 0.2])
    assert caught.value.reason == "no_negatives"
    with pytest.raises(UndefinedMetricError, match="of no rows is not defined") as caught:
        metric([], [])
    assert caught.value.reason == "no_rows"
    with pytest.raises(UndefinedMetricError, match="is positive"):
        metric([0, 1], [0.1, 0.2], [1.0, 0.0])


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "sentence"),
    [
        ([0, 1], [0.1, np.nan], None, "Scores are NaN or infinite in 1 of 2 rows, the first at row 1"),
        ([0, 1], [np.inf, 0.0], None, "the first at row 0"),
        ([0, -1], [0.1, 0.2], None, r"Labels hold -1, .* leave uncertain \(-1\) and missing rows out first"),
        ([0, np.nan], [0.1, 0.2], None, "Labels hold nan"),
        ([0, 1], [0.1, 0.2, 0.3], None, r"Scores have shape \(3,\), labels have 2 rows"),
        ([[0, 1]], [0.1, 0.2], None, r"Labels have shape \(1, 2\)"),
        ([0, 1], [0.1, 0.2], [1.0, -1.0], "Weights hold negative values"),
        ([0, 1], [0.1, 0.2], [1.0, np.nan], "Weights are NaN or infinite in 1 of 2 rows"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(labels, scores, weights, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        auroc(labels, scores, weights)

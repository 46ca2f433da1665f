"""AUROC and average precision are scikit-learn's numbers, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp.core.errors import DataError
from medvlp.statistics.metrics import UndefinedMetricError, auroc, average_precision


def _cases(number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(20240611)
    cases = []
    while len(cases) < number:
        n = int(generator.integers(2, 60))
        labels = (generator.random(n) < generator.random()).astype(int)
        # From nearly all tied to all distinct, negative logits included.
        scores = generator.integers(0, int(generator.integers(1, 200)), n) / 7.0 - 5.0
        if 0 < labels.sum() < n:
            cases.append((labels, scores))
    return cases


@pytest.mark.parametrize("cases", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_cases_equal_scikit_learn(cases: int) -> None:
    worst = 0.0
    for labels, scores in _cases(cases):
        worst = max(
            worst,
            abs(auroc(labels, scores) - roc_auc_score(labels, scores)),
            abs(average_precision(labels, scores) - average_precision_score(labels, scores)),
        )
    assert worst < 1e-12


def test_auroc_is_the_chance_that_a_positive_outscores_a_negative() -> None:
    labels, scores = np.array([1, 1, 0, 0, 0]), np.array([2.0, 1.0, 1.0, 0.0, 3.0])
    won = [np.sign(p - q) / 2 + 0.5 for p in scores[labels == 1] for q in scores[labels == 0]]
    assert auroc(labels, scores) == np.mean(won)


def test_a_monotone_change_of_scale_changes_nothing() -> None:
    generator = np.random.default_rng(3)
    labels, logits = generator.integers(0, 2, 300), generator.normal(size=300) * 20
    assert auroc(labels, logits) == auroc(labels, np.arctan(logits)) == 1 - auroc(labels, -logits)


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


@pytest.mark.parametrize(
    ("labels", "scores", "sentence"),
    [
        ([0, 1], [0.1, np.nan], "Scores are NaN or infinite in 1 of 2 rows, the first at row 1"),
        ([0, 1], [np.inf, 0.0], "the first at row 0"),
        ([0, -1], [0.1, 0.2], r"Labels hold -1, .* leave uncertain \(-1\) and missing rows out first"),
        ([0, np.nan], [0.1, 0.2], "Labels hold nan"),
        ([0, 1], [0.1, 0.2, 0.3], r"Scores have shape \(3,\), labels have 2 rows"),
        ([[0, 1]], [0.1, 0.2], r"Labels have shape \(1, 2\)"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(labels, scores, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        auroc(labels, scores)

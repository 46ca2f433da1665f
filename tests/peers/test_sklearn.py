"""scikit-learn's own tests of areas under curves, run against ours.

The fixture lends scikit-learn's names and habits: several labels at once, positives named 1 among any other number, and
a warning with NaN where ours refuse to answer.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import sklearn.metrics.tests.test_ranking as theirs
from numpy.typing import ArrayLike
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics.tests.test_ranking import (  # noqa: F401  (found by pytest)
    test_average_precision_constant_values,
    test_precision_recall_curve,
    test_precision_recall_curve_toydata,
    test_roc_curve,
    test_roc_curve_toydata,
    test_score_scale_invariance,
)

from medvlp.statistics.metrics import UndefinedMetricError, auroc, average_precision

SENTENCES = {
    auroc: "Only one class is present in y_true. ROC AUC score is not defined in that case.",
    average_precision: "No positive class found in y_true",
}


def of_one_label(metric: Callable[..., float], labels: np.ndarray, scores: np.ndarray) -> float:
    try:
        return metric(labels == 1, scores)
    except UndefinedMetricError:
        warnings.warn(SENTENCES[metric], UndefinedMetricWarning, stacklevel=2)
        # Without positives scikit-learn gives 0 to average precision.
        return math.nan if metric is auroc else float(labels.any())


def score(metric: Callable[..., float], y_true: ArrayLike, y_score: ArrayLike, average: str = "macro") -> float:
    labels, scores = np.asarray(y_true), np.asarray(y_score)
    if labels.ndim == 1:
        return of_one_label(metric, labels, scores)
    if average == "micro":
        return of_one_label(metric, labels.ravel(), scores.ravel())
    rows, columns = zip(labels, scores, strict=True), zip(labels.T, scores.T, strict=True)
    found = [of_one_label(metric, *pair) for pair in (rows if average == "samples" else columns)]
    weights = labels.sum(axis=0) if average == "weighted" and labels.any() else None
    return float(np.average(found, weights=weights))


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theirs, "roc_auc_score", partial(score, auroc))
    monkeypatch.setattr(theirs, "average_precision_score", partial(score, average_precision))

"""L2 logistic regression at several strengths, in the span of its rows, so that few rows of many columns are quick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp.statistics.metrics import FloatArray

STRENGTHS: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True, slots=True)
class Standard:
    """Mean and scale of each column of training features."""

    mean: FloatArray
    scale: FloatArray

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return ``(features - mean) / scale``."""
        return (features - self.mean) / self.scale


@dataclass(frozen=True, slots=True)
class LinearClassifier:
    """Log-odds ``features @ weight + bias``.

    Attributes:
        weight: ``(D,)``.
        bias: of the log-odds.
        strength: inverse regularisation C that it was fitted with.
    """

    weight: FloatArray
    bias: float
    strength: float

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return log-odds ``(N,)`` of features ``(N, D)``."""
        return features @ self.weight + self.bias


def standard_of(features: FloatArray) -> Standard:
    """Return the standard of features ``(N, D)``; a constant column is set to 0 for everybody.

    Example:
        >>> standard_of(np.array([[1.0, 7.0], [3.0, 7.0]]))(np.array([[5.0, 9.0]])).tolist()
        [[3.0, 0.0]]
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    # A constant column carries nothing; dividing by its rounding error would blow it up in other patients.
    return Standard(mean, np.where(spread > 1e-8 * (1 + np.abs(mean)), spread, np.inf))


def fit_classifiers(
    features: FloatArray, target: NDArray[np.bool_], *, strengths: Sequence[float] = STRENGTHS, balanced: bool = False
) -> list[LinearClassifier]:
    """Fit one L2 logistic regression a strength, weakest C first.

    The best weights are a combination of the rows (the penalty sees to it), so fewer rows than columns are first
    written in an orthonormal basis of their span: same weights, and a Newton step as small as the rows are few.

    Args:
        features: ``(N, D)``, standardised.
        target: ``(N,)``, both classes.
        strengths: values of C.
        balanced: whether both classes weigh alike.

    Example:
        >>> rows = np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        >>> fit_classifiers(rows, np.array([False, True]), strengths=[1.0])[0].weight.round(3).tolist()
        [0.675, 0.0, 0.0]
    """
    from sklearn.linear_model import LogisticRegression

    basis = None
    if features.shape[0] < features.shape[1]:
        basis = np.linalg.qr(features.T)[0]
        features = features @ basis
    fitted = []
    # Far more rows than columns: Newton's steps took a sixteenth of the time of L-BFGS, for the same AUROC. Each starts
    # where the next weaker one ended.
    weigh = "balanced" if balanced else None
    model = LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=200, class_weight=weigh, warm_start=True)
    for strength in sorted(strengths):
        model.set_params(C=strength).fit(features, target)
        weight = model.coef_[0]
        fitted.append(
            LinearClassifier(weight.copy() if basis is None else basis @ weight, float(model.intercept_[0]), strength)
        )
    return fitted

"""Maximum likelihood of a logistic model with a few coefficients, by Newton's steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from medvlp.statistics.metrics import FloatArray, UndefinedMetricError

_MOST_STEPS = 100
_MOST_CONDITION = 1e14


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """Coefficients ``(K,)`` and the inverse of the information matrix ``(K, K)``."""

    coefficients: FloatArray
    inverse: FloatArray


def fit_logistic(design: FloatArray, target: FloatArray, *, offset: FloatArray | None = None) -> LogisticFit:
    """Fit ``target ~ expit(design @ coefficients + offset)``.

    Args:
        design: ``(n, K)``.
        target: ``(n,)`` in [0, 1]; fractions are allowed.
        offset: ``(n,)``.

    Raises:
        UndefinedMetricError: if no finite maximum exists (reason ``"separated"``): a cut divides the classes, or a
            column is constant but for what rounding leaves of it.

    Example:
        >>> fit_logistic(np.ones((4, 1)), np.array([1.0, 0.0, 0.0, 0.0])).coefficients.round(4).tolist()
        [-1.0986]
    """
    base = np.zeros(len(target)) if offset is None else offset
    beta = np.zeros(design.shape[1])
    loss = _loss(base, target)
    for _ in range(_MOST_STEPS):
        probability = expit(design @ beta + base)
        information = design.T @ (design * (probability * (1 - probability))[:, None])
        try:
            step = np.linalg.solve(information, design.T @ (target - probability))
        except np.linalg.LinAlgError:
            break
        if not np.isfinite(step).all():
            break
        size = 1.0
        while size > 1e-8 and not _loss(design @ (beta + size * step) + base, target) <= loss + 1e-12 * abs(loss):
            size /= 2
        beta = beta + size * step
        loss = _loss(design @ beta + base, target)
        if np.abs(step).max() <= 1e-10 * (1 + np.abs(beta).max()):
            if not _is_invertible(information):
                break
            return LogisticFit(beta, np.linalg.inv(information))
    raise UndefinedMetricError(
        f"A logistic fit of {len(target)} rows has no finite solution: a score divides the classes, or all are equal.",
        reason="separated",
    )


def _is_invertible(information: FloatArray) -> bool:
    """Whether an inverse has a digit that is not rounding, whatever the units of the columns."""
    size = np.sqrt(np.diag(information))
    return bool((size > 0).all()) and np.linalg.cond(information / np.outer(size, size)) < _MOST_CONDITION


def _loss(z: FloatArray, target: FloatArray) -> float:
    return float(np.sum(np.logaddexp(0, z) - target * z))

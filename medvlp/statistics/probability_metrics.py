"""Probabilities checked, their log losses, and what a Brier score is made of.

A score is not a probability because it lies between 0 and 1, and one outside is never squashed into the range: it is
refused. A probability of exactly 0 that proves wrong has an infinite log loss, which is not cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medvlp.core.errors import DataError
from medvlp.statistics.metrics import FloatArray, UndefinedMetricError, checked_labels, checked_scores


@dataclass(frozen=True, slots=True)
class BrierParts:
    """``brier = miscalibration - discrimination + uncertainty``, exactly.

    Attributes:
        miscalibration: what the best monotone recalibration would gain.
        discrimination: what that recalibration is better than the prevalence for everybody.
        uncertainty: the Brier score of the prevalence for everybody.
    """

    miscalibration: float
    discrimination: float
    uncertainty: float


def checked_probabilities(probabilities: ArrayLike, *, rows: int) -> FloatArray:
    """Return probabilities as ``(rows,)`` float64.

    Raises:
        DataError: if the shape is not ``(rows,)``, or a value is NaN or outside [0, 1].

    Example:
        >>> checked_probabilities([0, 0.25], rows=2).tolist()
        [0.0, 0.25]
    """
    values = checked_scores(probabilities, rows=rows, name="Probabilities")
    outside = (values < 0) | (values > 1)
    if outside.any():
        raise DataError(
            f"Probabilities lie outside [0, 1] in {int(outside.sum())} of {rows} rows, the first is "
            f"{values[outside][0]:g}: these are scores; calibrate them on validation rows, they are not squashed here."
        )
    return values


def checked_rows(labels: ArrayLike, probabilities: ArrayLike, what: str) -> tuple[FloatArray, FloatArray]:
    """Return labels as 0.0 and 1.0, and their probabilities; of no rows `what` is not defined."""
    truth = checked_labels(labels).astype(np.float64)
    values = checked_probabilities(probabilities, rows=len(truth))
    if not len(truth):
        raise UndefinedMetricError(f"{what} of no rows is not defined: give rows.", reason="no_rows")
    return truth, values


def log_losses(truth: ArrayLike, probabilities: FloatArray) -> FloatArray:
    """Return the negative log-likelihood of each row, infinite where an outcome had probability 0."""
    with np.errstate(divide="ignore"):
        return np.where(np.asarray(truth, bool), -np.log(probabilities), -np.log1p(-probabilities))


def brier_parts(labels: ArrayLike, probabilities: ArrayLike) -> BrierParts:
    """Split the Brier score without bins, by isotonic recalibration (Dimitriadis, Gneiting and Jordan, PNAS 2021).

    Example:
        >>> parts = brier_parts([0, 0, 1, 1], [0.2, 0.2, 0.2, 0.6])
        >>> round(parts.miscalibration, 4), round(parts.discrimination, 4), parts.uncertainty
        (0.0533, 0.0833, 0.25)
    """
    from scipy.optimize import isotonic_regression

    truth, values = checked_rows(labels, probabilities, "The Brier score")
    distinct, place, rows = np.unique(values, return_inverse=True, return_counts=True)
    observed = np.bincount(place, weights=truth) / rows
    fitted = isotonic_regression(observed, weights=rows).x[place]
    prevalence = float(np.mean(truth))
    uncertainty = prevalence * (1 - prevalence)
    best = float(np.mean((fitted - truth) ** 2))
    whole = float(np.mean((distinct[place] - truth) ** 2))
    return BrierParts(whole - best, uncertainty - best, uncertainty)

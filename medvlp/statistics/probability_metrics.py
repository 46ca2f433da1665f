"""Brier score and log loss of probabilities, and what a Brier score is made of.

A score is not a probability because it lies between 0 and 1, and one outside is never squashed into the range: it is
refused. A probability of exactly 0 that proves wrong has an infinite log loss, which is refused too, not cut off.
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


def checked_probabilities(probabilities: ArrayLike, *, rows: int, name: str = "Probabilities") -> FloatArray:
    """Return probabilities as ``(rows,)`` float64.

    Raises:
        DataError: if the shape is not ``(rows,)``, or a value is NaN or outside [0, 1].

    Example:
        >>> checked_probabilities([0, 0.25], rows=2).tolist()
        [0.0, 0.25]
    """
    values = checked_scores(probabilities, rows=rows, name=name)
    outside = (values < 0) | (values > 1)
    if outside.any():
        raise DataError(
            f"{name} hold {int(outside.sum())} values outside [0, 1], the first is {values[outside][0]:g}: these are "
            f"scores; calibrate them on validation rows, they are not squashed here."
        )
    return values


def brier(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the mean squared difference of probability and outcome.

    Args:
        labels: ``(n,)`` of 0 and 1.
        probabilities: ``(n,)`` in [0, 1].
        weights: ``(n,)`` non-negative row weights.

    Raises:
        UndefinedMetricError: if there are no rows (or no weight).
        DataError: if labels are not 0 or 1, or a probability is NaN or outside [0, 1].

    Example:
        >>> round(brier([0, 1, 1], [0.1, 0.8, 0.4]), 4)
        0.1367
    """
    truth, values, weight = _checked(labels, probabilities, weights, "The Brier score")
    return float(np.sum(weight * (values - truth) ** 2) / weight.sum())


def log_loss(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the mean negative log-likelihood; arguments and errors as `brier`.

    Raises:
        UndefinedMetricError: also where it is infinite (reason ``"infinite"``): an outcome had probability 0.

    Example:
        >>> round(log_loss([0, 1], [0.1, 0.8]), 4)
        0.1643
    """
    truth, values, weight = _checked(labels, probabilities, weights, "The log loss")
    loss = log_losses(truth, values)
    if np.isinf(loss[weight > 0]).any():
        raise UndefinedMetricError(
            f"The log loss is infinite: {int(np.isinf(loss).sum())} outcomes had probability 0; a calibrated model "
            f"never says 0 or 1, or give the Brier score instead.",
            reason="infinite",
        )
    return float(np.sum(weight * np.where(weight > 0, loss, 0.0)) / weight.sum())


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

    truth, values, _ = _checked(labels, probabilities, None, "The Brier score")
    distinct, place, rows = np.unique(values, return_inverse=True, return_counts=True)
    observed = np.bincount(place, weights=truth) / rows
    fitted = isotonic_regression(observed, weights=rows).x[place]
    prevalence = float(np.mean(truth))
    uncertainty = prevalence * (1 - prevalence)
    best = float(np.mean((fitted - truth) ** 2))
    whole = float(np.mean((distinct[place] - truth) ** 2))
    return BrierParts(whole - best, uncertainty - best, uncertainty)


def _checked(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None, what: str
) -> tuple[FloatArray, FloatArray, FloatArray]:
    truth = checked_labels(labels).astype(np.float64)
    values = checked_probabilities(probabilities, rows=len(truth))
    weight = np.ones(len(truth)) if weights is None else checked_scores(weights, rows=len(truth), name="Weights")
    if (weight < 0).any():
        raise DataError("Weights hold negative values: a row's weight is 0 or more.")
    if not weight.sum() > 0:
        raise UndefinedMetricError(f"{what} of no rows is not defined: give rows.", reason="no_rows")
    return truth, values, weight

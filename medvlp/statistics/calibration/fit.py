"""Fit the maps from scores to probabilities on validation rows; `calibrators` beside it applies them."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from medvlp.core.errors import DataError
from medvlp.statistics.calibration.calibrators import Calibrator, CalibratorName, Scale, log_odds
from medvlp.statistics.calibration.logistic import fit_logistic
from medvlp.statistics.metrics import FloatArray, check_both_classes, checked_labels, checked_scores

# Squares of scores, and of their reciprocals, stay within what a float64 holds.
_LARGEST = 1e100
# A mean logarithm of less tells nothing that its own rounding would not.
_LEAST_MEAN = 1e-12


def scale_of(scores: FloatArray) -> Scale:
    """Return ``"probability"`` where all scores lie in [0, 1], else ``"log_odds"``.

    Example:
        >>> scale_of(np.array([0.1, 1.0])), scale_of(np.array([0.1, 1.1]))
        ('probability', 'log_odds')
    """
    return "probability" if ((scores >= 0) & (scores <= 1)).all() else "log_odds"


def fit_calibrator(name: CalibratorName, labels: ArrayLike, scores: ArrayLike, *, scale: Scale) -> Calibrator:
    """Fit a map by maximum likelihood.

    Platt's targets are softened as in his paper, so a cut that divides the classes still gives finite coefficients; a
    slope that would turn the ranking round is held at 0.

    Args:
        name: which map.
        labels: ``(n,)`` of 0 and 1, validation rows.
        scores: ``(n,)`` finite.
        scale: what the scores are, see `scale_of`.

    Raises:
        UndefinedMetricError: if a class is missing.
        DataError: if labels are not 0 or 1, or a score is NaN, infinite or, for probabilities, outside [0, 1]; or if
            scores are so large, or all so small, that their squares cannot be held.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> z = generator.normal(size=2000)
        >>> y = generator.random(2000) < 1 / (1 + np.exp(-z / 2))
        >>> round(fit_calibrator("temperature", y, z, scale="log_odds").parameters["temperature"][0], 1)
        1.8
    """
    truth = checked_labels(labels)
    values = checked_scores(scores, rows=len(truth))
    check_both_classes(truth, "No calibration can be fitted on validation rows")
    z = log_odds(values, scale)
    largest = float(np.abs(z).max())
    if largest > _LARGEST or 0 < largest < 1 / _LARGEST:
        raise DataError(
            f"The scores reach {largest:g}, beyond what a calibration can be fitted to: divide them by a constant, or "
            f"give their logarithm."
        )
    target = truth.astype(np.float64)
    if name == "temperature":
        parameters = {"temperature": (_temperature(z, target),)}
    elif name == "platt":
        slope, intercept = _platt(z, target)
        parameters = {"slope": (slope,), "intercept": (intercept,)}
    elif name == "dirichlet":
        present, absent, intercept = _two_class_dirichlet(z, target)
        parameters = {"present": (present,), "absent": (absent,), "intercept": (intercept,)}
    elif name == "isotonic":
        score, probability = _isotonic(values, target)
        parameters = {"score": score, "probability": probability}
    else:
        raise DataError(f"There is no calibration {name!r}: use temperature, platt, dirichlet or isotonic.")
    return Calibrator(name, scale, parameters, n=len(truth), positives=int(truth.sum()))


def _temperature(z: FloatArray, target: FloatArray) -> float:
    """Minimise over ln T, where the loss has one minimum; the bounds only meet classes that a score divides."""
    spread = float(np.sqrt(np.mean(z**2)))
    if spread == 0:
        return 1.0
    centre = np.log(spread)

    def loss(log_temperature: float) -> float:
        scaled = z / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    found = minimize_scalar(loss, bounds=(centre - 7, centre + 7), method="bounded", options={"xatol": 1e-10})
    return float(np.exp(found.x))


def _platt(z: FloatArray, target: FloatArray) -> tuple[float, float]:
    positives, n = target.sum(), len(target)
    soft = np.where(target == 1, (positives + 1) / (positives + 2), 1 / (n - positives + 2))
    centre, spread = float(z.mean()), float(z.std())
    if spread > 1e-12 * abs(centre):  # less is the rounding of equal scores
        design = np.stack([(z - centre) / spread, np.ones(n)], axis=1)
        slope, intercept = (float(value) for value in fit_logistic(design, soft).coefficients)
        if slope > 0:
            return slope / spread, intercept - slope * centre / spread
    return 0.0, float(fit_logistic(np.ones((n, 1)), soft).coefficients[0])


def _two_class_dirichlet(z: FloatArray, target: FloatArray) -> tuple[float, float, float]:
    """Minimise over a, b >= 0 and c: the least minimum with both, one or none of a and b free that is allowed.

    The loss is convex, so the minimum inside the bounds is one of these; the softened targets keep it finite. Of scores
    so far from 0 that ln p is 0 on all rows, or ln (1 - p) is, its coefficient is not told: it is 0.
    """
    positives, n = target.sum(), len(target)
    soft = np.where(target == 1, (positives + 1) / (positives + 2), 1 / (n - positives + 2))
    logs = np.stack([-np.logaddexp(0, -z), np.logaddexp(0, z)], axis=1)
    centre, spread = logs.mean(axis=0), logs.std(axis=0)
    spread = np.where((np.abs(centre) > _LEAST_MEAN) & (spread > 1e-12 * np.abs(centre)), spread, np.inf)
    design = np.append((logs - centre) / spread, np.ones((n, 1)), axis=1)
    least, found = np.inf, np.zeros(3)
    for free in ([0, 1, 2], [0, 2], [1, 2], [2]):
        beta = np.zeros(3)
        with suppress(DataError):  # of a column without spread, or two that are one
            beta[free] = fit_logistic(design[:, free], soft).coefficients
            linear = design @ beta
            loss = float(np.mean(np.logaddexp(0, linear) - soft * linear))
            if beta[:2].min() >= 0 and loss < least:
                least, found = loss, beta
    present, absent = found[:2] / spread
    return float(present), float(absent), float(found[2] - np.array([present, absent]) @ centre)


def _isotonic(scores: FloatArray, target: FloatArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    from scipy.optimize import isotonic_regression

    distinct, place, rows = np.unique(scores, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(place, weights=target) / rows, weights=rows).x
    # Both ends of every flat stretch say all that interpolation needs.
    corners = np.ones(len(fitted), bool)
    corners[1:-1] = (fitted[1:-1] != fitted[:-2]) | (fitted[1:-1] != fitted[2:])
    return tuple(map(float, distinct[corners])), tuple(map(float, np.clip(fitted[corners], 0.0, 1.0)))

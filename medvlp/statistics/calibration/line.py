"""Calibration slope and intercept: is the model too sure of itself, and does it call too many?

Logistic regression of the outcome on the log-odds of the probability: a slope below 1 means too extreme, and the
intercept with the slope held at 1 (calibration in the large) below 0 means too high. Errors between patients (sandwich
estimator), so images of one patient do not count as independent; the test asks whether both are as they should be.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.special import chdtrc, expit, ndtri

from medvlp.statistics.bootstrap import Interval, count_patients
from medvlp.statistics.calibration.calibrators import log_odds
from medvlp.statistics.calibration.logistic import fit_logistic
from medvlp.statistics.few import LEAST_PATIENTS
from medvlp.statistics.metrics import FloatArray, UndefinedMetricError, check_both_classes, checked_labels
from medvlp.statistics.probability_metrics import checked_probabilities

_LEAST_SPREAD = 1e-7  # of log-odds beside their size; less is rounding
_LEAST_ERROR = 1e-9  # of the variance between patients beside the model's own; less is rounding


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """Slope and intercept with intervals.

    Attributes:
        slope: 1 where the model is as sure as it should be.
        intercept: 0 where it calls as many as there are (slope held at 1).
        slope_interval, intercept_interval: at the level asked for; without limits where no patient moves the line (all
            of them have the same rows).
        p: of the joint test that the line is the diagonal (Wald, two degrees of freedom); None where a class has so few
            patients that the errors between them are not known, or where no patient moves the line.
        line: ``(2,)`` slope, and the intercept that goes with it.
        covariance: ``(2, 2)`` of these.
    """

    slope: float
    intercept: float
    slope_interval: Interval
    intercept_interval: Interval
    p: float | None
    line: FloatArray = field(compare=False, repr=False)
    covariance: FloatArray = field(compare=False, repr=False)


def calibration_line(
    labels: ArrayLike, probabilities: ArrayLike, patients: ArrayLike | None = None, *, level: float = 0.95
) -> CalibrationLine:
    """Return the calibration line.

    Args:
        labels: ``(n,)`` of 0 and 1.
        probabilities: ``(n,)`` in [0, 1]; 0 and 1 are taken as one in a trillion off.
        patients: ``(n,)`` identifiers; None where every row is its own patient.
        level: of the intervals.

    Raises:
        UndefinedMetricError: if a class is missing, or the probabilities divide the classes or are all equal.
        DataError: if labels are not 0 or 1, or a probability is NaN or outside [0, 1].

    Example:
        >>> generator = np.random.default_rng(0)
        >>> z = generator.normal(size=4000)
        >>> y = generator.random(4000) < 1 / (1 + np.exp(-z))
        >>> line = calibration_line(y, 1 / (1 + np.exp(-2 * z)))  # twice too sure
        >>> round(line.slope, 1), line.p < 1e-6
        (0.5, True)
    """
    positive = checked_labels(labels)
    values = checked_probabilities(probabilities, rows=len(positive))
    check_both_classes(positive, "A calibration line is not defined")
    truth = positive.astype(np.float64)
    code = np.arange(len(truth)) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    z = log_odds(values, "probability")
    # About their middle, in units of their spread: of nearly equal probabilities (a calibrator's that found nothing)
    # slope and intercept as such are each other's rounding, and their Wald test no number.
    centre, spread = float(z.mean()), float(z.std())
    if spread <= _LEAST_SPREAD * abs(centre):
        raise UndefinedMetricError(
            f"A calibration line is not defined: the {len(truth)} probabilities are all equal.", reason="all_equal"
        )
    design = np.stack([(z - centre) / spread, np.ones(len(z))], axis=1)
    fit = fit_logistic(design, truth)
    large = fit_logistic(design[:, 1:], truth, offset=z)
    around = _sandwich(fit.inverse, design, truth - expit(design @ fit.coefficients), code)
    variance = _sandwich(large.inverse, design[:, 1:], truth - expit(z + large.coefficients[0]), code)
    off = fit.coefficients - np.array([spread, centre])
    back = np.array([[1 / spread, 0.0], [-centre / spread, 1.0]])
    line, covariance = back @ fit.coefficients, back @ around @ back.T
    reach = float(ndtri((1 + level) / 2))
    fewest = min(count_patients(code[truth == each]) for each in (0.0, 1.0))
    moved = bool(np.min(eigh(around, fit.inverse, eigvals_only=True)) > _LEAST_ERROR)
    large_moved = bool(variance[0, 0] > _LEAST_ERROR * large.inverse[0, 0])
    tested = moved and fewest >= LEAST_PATIENTS
    return CalibrationLine(
        slope=float(line[0]),
        intercept=float(large.coefficients[0]),
        slope_interval=_around(float(line[0]), reach * float(np.sqrt(max(covariance[0, 0], 0.0))), moved),
        intercept_interval=_around(float(large.coefficients[0]), reach * float(np.sqrt(variance[0, 0])), large_moved),
        p=float(chdtrc(2, off @ np.linalg.solve(around, off))) if tested else None,
        line=line,
        covariance=covariance,
    )


def _sandwich(inverse: FloatArray, design: FloatArray, residual: FloatArray, code: NDArray[np.int64]) -> FloatArray:
    scores = np.stack([np.bincount(code, weights=column * residual) for column in design.T], axis=1)
    patients = len(scores)
    return inverse @ (scores.T @ scores) @ inverse * (patients / max(patients - 1, 1))


def _around(centre: float, reach: float, moved: bool) -> Interval:
    return Interval(centre - reach, centre + reach, 0, 0) if moved else Interval(None, None, 0, 0)

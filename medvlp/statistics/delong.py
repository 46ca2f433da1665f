"""DeLong's variance of an AUROC, and of the difference of two, also where patients have several images.

Each positive has the share of negatives that it beats (V10), each negative the share of positives that beat it (V01);
their covariances give that of the AUROCs (DeLong et al., Biometrics 1988). Where a patient has several rows, sums over
patients replace the single values and a patient with both kinds of rows adds a cross term (Obuchowski, Biometrics
1997); with one row a patient the two are the same number. Components by mid-ranks: O(n log n). The variance is
estimated from the patients of the smaller class, m of them: Student's t with m - 1 degrees of freedom takes the
normal's place, which is the same for many and mends the size of the test for few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, stdtr, stdtrit

from medvlp.core.errors import DataError
from medvlp.statistics.bootstrap import Interval
from medvlp.statistics.metrics import (
    FloatArray,
    UndefinedMetricError,
    check_both_classes,
    checked_labels,
    checked_scores,
)


@dataclass(frozen=True, slots=True)
class Areas:
    """AUROCs of K scores on the same rows.

    Attributes:
        value: ``(K,)``.
        covariance: ``(K, K)``.
        patients: in the smaller class.
    """

    value: FloatArray
    covariance: FloatArray
    patients: int


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two AUROCs on the same rows.

    Attributes:
        first, second: the AUROCs.
        difference: second less first.
        low, high: interval of the difference.
        z: difference over its standard error; 0 where both rank all pairs alike.
        p: two-sided; 1 where the variance is 0 and so is the difference. None where only the variance is 0 (one score
            ranks every pair right, the other every pair wrong): the rows hold no sign of how sure that is.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    z: float
    p: float | None


def delong(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None) -> Areas:
    """Return AUROCs with their covariance.

    Args:
        labels: ``(n,)`` of 0 and 1.
        scores: ``(n,)`` or ``(n, K)``, K scores of the same rows.
        patients: ``(n,)`` identifiers; None where every row is its own patient.

    Raises:
        UndefinedMetricError: if a class is missing, or has rows of one patient only (reason ``one_patient``).
        DataError: if labels are not 0 or 1, or a score is NaN or infinite.

    Example:
        >>> found = delong([0, 0, 1, 1, 1], [0.1, 0.4, 0.35, 0.8, 0.9])
        >>> round(float(found.value[0]), 4), round(float(found.covariance[0, 0]), 4)
        (0.8333, 0.0556)
    """
    truth = checked_labels(labels)
    columns = np.asarray(scores, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    for column in columns.T:
        checked_scores(column, rows=len(truth))
    identifiers = np.arange(len(truth)) if patients is None else np.asarray(patients)
    if identifiers.shape != truth.shape:
        raise DataError(f"Patients have shape {identifiers.shape}, labels have {len(truth)} rows: give one a row.")
    code = np.unique(identifiers, return_inverse=True)[1]
    check_both_classes(truth, "DeLong's variance is not defined")
    positives, negatives = int(truth.sum()), int((~truth).sum())
    with_positive, with_negative = len(np.unique(code[truth])), len(np.unique(code[~truth]))
    if min(with_positive, with_negative) < 2:
        raise UndefinedMetricError(
            "DeLong's variance is not defined: one class has rows of a single patient; give more patients.",
            reason="one_patient",
        )
    size = int(code.max()) + 1
    won, lost, value = [], [], []
    for column in columns.T:
        v10, v01 = _components(truth, column)
        area = float(v10.mean())
        value.append(area)
        won.append(np.bincount(code[truth], weights=v10 - area, minlength=size))
        lost.append(np.bincount(code[~truth], weights=v01 - area, minlength=size))
    w, u = np.stack(won), np.stack(lost)
    s10 = with_positive / ((with_positive - 1) * positives) * (w @ w.T)
    s01 = with_negative / ((with_negative - 1) * negatives) * (u @ u.T)
    cross = size / (size - 1) * (w @ u.T)
    covariance = s10 / positives + s01 / negatives + (cross + cross.T) / (positives * negatives)
    return Areas(np.array(value), covariance, min(with_positive, with_negative))


def delong_interval(area: float, variance: float, *, patients: float, level: float = 0.95) -> Interval:
    """Return the interval on the log-odds scale; without limits where the area is 0 or 1 or has no variance.

    Args:
        area: the AUROC.
        variance: of it.
        patients: in the smaller class, 2 or more; one more than the degrees of freedom of the variance, which for
            a mean of areas need not be whole.

    Example:
        >>> found = delong_interval(0.8, 0.0025, patients=100_000)
        >>> round(found.low, 3), round(found.high, 3)
        (0.684, 0.881)
    """
    if not 0 < area < 1 or variance <= 0:
        return Interval(None, None, 0, 0)
    reach = float(stdtrit(patients - 1, (1 + level) / 2)) * np.sqrt(variance) / (area * (1 - area))
    return Interval(float(expit(logit(area) - reach)), float(expit(logit(area) + reach)), 0, 0)


def compare_areas(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, patients: ArrayLike | None = None, *, level: float = 0.95
) -> PairedTest:
    """Return the paired test of two scores on the same rows; arguments and errors as `delong`.

    Example:
        >>> found = compare_areas([0, 0, 1, 1, 1], [0.1, 0.4, 0.35, 0.8, 0.9], [0.2, 0.1, 0.35, 0.8, 0.9])
        >>> round(found.difference, 4), round(found.p, 4)
        (0.1667, 0.6082)
    """
    truth = checked_labels(labels)
    pair = np.stack([checked_scores(first, rows=len(truth)), checked_scores(second, rows=len(truth))], axis=1)
    areas = delong(truth, pair, patients)
    difference = float(areas.value[1] - areas.value[0])
    variance = float(areas.covariance[0, 0] + areas.covariance[1, 1] - 2 * areas.covariance[0, 1])
    # Equal rankings leave rounding behind, not a variance.
    error = float(np.sqrt(variance)) if variance > 1e-18 else 0.0
    z = difference / error if error else 0.0 if abs(difference) < 1e-12 else float(np.sign(difference) * np.inf)
    freedom = areas.patients - 1
    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    return PairedTest(
        first=float(areas.value[0]),
        second=float(areas.value[1]),
        difference=difference,
        low=difference - reach,
        high=difference + reach,
        z=float(z),
        p=None if np.isinf(z) else float(2 * stdtr(freedom, -abs(z))),
    )


def _components(truth: NDArray[np.bool_], scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return V10 of the positives and V01 of the negatives, in row order."""
    positive, negative = scores[truth], scores[~truth]
    ascending = np.sort(negative)
    v10 = (np.searchsorted(ascending, positive) + np.searchsorted(ascending, positive, side="right")) / 2
    rising = np.sort(positive)
    v01 = (np.searchsorted(rising, negative) + np.searchsorted(rising, negative, side="right")) / 2
    return v10 / len(negative), 1 - v01 / len(positive)

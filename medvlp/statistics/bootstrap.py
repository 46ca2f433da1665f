"""Patient-clustered bootstrap: a resample is a vector of patient weights, never a copy of the rows.

Patients are drawn with replacement, within strata, and all rows of a patient come with them. A statistic that depends
on the data through sums over patients (such as a hit count) is then a matrix times a block of weight vectors. Resample
b is a function of (seed, b), so neither the block size nor the number of resamples changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.core.errors import DataError
from medvlp.core.randomness import numpy_generator
from medvlp.statistics.metrics import FloatArray

# Rows times resamples held at once; a block of the largest array stays near 100 MB.
_BLOCK_ELEMENTS = 12_000_000
_KEPT_ELEMENTS = 1 << 20  # of the last blocks of weights that are remembered, 8 MB each
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which patient each row belongs to, and which stratum each patient.

    Attributes:
        patient: ``(n,)`` patient code of each row, 0 to P - 1.
        stratum: ``(P,)`` stratum of each patient; a resample keeps the number of patients in each.
    """

    patient: NDArray[np.int64]
    stratum: NDArray[np.int64]

    @property
    def patients(self) -> int:
        """Number of patients P."""
        return len(self.stratum)


@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap interval.

    Attributes:
        low, high: limits; None where too few of the resamples define the statistic.
        used: resamples in which the statistic is defined.
        skipped: resamples in which it is not (no positive was drawn, say).
    """

    low: float | None
    high: float | None
    used: int
    skipped: int

    @property
    def ends(self) -> tuple[float, float]:
        """Both limits, of an interval that has them."""
        assert self.low is not None, "asked of intervals with limits only"
        assert self.high is not None, "asked of intervals with limits only"
        return self.low, self.high


def patient_clusters(patients: ArrayLike, positive: ArrayLike | None = None) -> Clusters:
    """Return the clusters of rows by patient, stratified by "has any positive row".

    Args:
        patients: ``(n,)`` patient identifiers of one sortable type.
        positive: ``(n,)`` booleans, true where a row is positive for any label; None means one stratum.

    Example:
        >>> patient_clusters(["b", "a", "b"], [True, False, False])
        Clusters(patient=array([1, 0, 1]), stratum=array([0, 1]))
    """
    identifiers, patient = np.unique(np.asarray(patients), return_inverse=True)
    stratum = np.zeros(len(identifiers), np.int64)
    if positive is not None:
        stratum[patient[np.asarray(positive, dtype=bool)]] = 1
    return Clusters(patient.astype(np.int64), stratum)


def count_patients(codes: NDArray[np.int64]) -> int:
    """Return how many different patient codes (0 and up) there are; a tenth of the time of ``np.unique``.

    Example:
        >>> count_patients(np.array([4, 0, 4]))
        2
    """
    return int(np.count_nonzero(np.bincount(codes)))


def resample_patients(clusters: Clusters, *, start: int, stop: int, seed: int) -> FloatArray:
    """Return how often each patient is drawn in the resamples ``start`` to ``stop - 1``, ``(P, stop - start)``.

    Example:
        >>> clusters = patient_clusters(["a", "b", "c"])
        >>> resample_patients(clusters, start=0, stop=4, seed=0).sum(axis=0).tolist()
        [3.0, 3.0, 3.0, 3.0]
    """
    drawn = _drawn if clusters.patients * (stop - start) <= _KEPT_ELEMENTS else _drawn.__wrapped__
    return drawn(clusters.stratum.tobytes(), start, stop, seed)


@lru_cache(maxsize=16)  # findings of the same patients, and the same finding after fewer examples, are drawn alike
def _drawn(strata: bytes, start: int, stop: int, seed: int) -> FloatArray:
    stratum = np.frombuffer(strata, np.int64)
    members = [np.flatnonzero(stratum == each) for each in np.unique(stratum)]
    weights = np.zeros((stop - start, len(stratum)))
    for row, resample in zip(weights, range(start, stop), strict=True):
        generator = numpy_generator(seed, resample, "patient_bootstrap")
        for member in members:
            drawn = generator.integers(0, len(member), size=len(member))
            row[member] = np.bincount(drawn, minlength=len(member))
    weights = np.ascontiguousarray(weights.T)
    weights.flags.writeable = False
    return weights


def bootstrap(
    statistic: Callable[[FloatArray], FloatArray], clusters: Clusters, *, resamples: int, seed: int, height: int = 1
) -> FloatArray:
    """Return a statistic of every resample, ``(resamples, K)``.

    Args:
        statistic: patient weights ``(P, B)`` -> ``(B, K)``; NaN where it is not defined.
        clusters: the patients.
        resamples: number of resamples, 1 or more.
        seed: the run's seed.
        height: the largest first axis that the statistic makes inside (rows, levels); bounds the block, not the result.

    Raises:
        DataError: if there are no patients or no resamples.

    Example:
        >>> clusters = patient_clusters(["a", "b", "c"])
        >>> value = np.array([0.0, 1.0, 5.0])
        >>> bootstrap(lambda weights: (value @ weights / 3)[:, None], clusters, resamples=2, seed=0).shape
        (2, 1)
    """
    if resamples < 1 or clusters.patients < 1:
        raise DataError(
            f"A bootstrap of {clusters.patients} patients with {resamples} resamples gives nothing: "
            f"give at least one of each (2000 resamples are usual)."
        )
    block = max(1, min(256, _BLOCK_ELEMENTS // max(clusters.patients, height)))
    parts = [
        statistic(resample_patients(clusters, start=start, stop=min(start + block, resamples), seed=seed))
        for start in range(0, resamples, block)
    ]
    return np.concatenate(parts, axis=0)


def percentile_interval(draws: FloatArray, *, level: float = 0.95) -> Interval:
    """Return the percentile interval of draws ``(resamples,)``, undefined (NaN) ones counted; none of fewer than half.

    Nor of fewer than ``2 / (1 - level) - 1``, 39 for 95 %: a limit would lie beyond the outermost draw.

    Example:
        >>> percentile_interval(np.arange(101.0), level=0.5)
        Interval(low=25.0, high=75.0, used=101, skipped=0)
    """
    defined = draws[~np.isnan(draws)]
    used, skipped = len(defined), len(draws) - len(defined)
    if used < skipped or (used + 1) * (1 - level) < 2 - 1e-9:
        return Interval(None, None, used, skipped)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), used, skipped)


def percentile_band(draws: FloatArray, *, level: float = 0.95) -> FloatArray:
    """Return `percentile_interval` at each of T places of draws ``(resamples, T)``, ``(2, T)``; NaN where none is.

    Example:
        >>> percentile_band(np.stack([np.arange(101.0), np.full(101, np.nan)], axis=1)).round(1).tolist()
        [[2.5, nan], [97.5, nan]]
    """
    found = [percentile_interval(place, level=level) for place in draws.T]
    return np.array([[each.low, each.high] for each in found], dtype=np.float64).T


def bootstrap_p(draws: FloatArray) -> float:
    """Return the two-sided p value of "no difference": twice the smaller share of draws on one side of 0, 0 included.

    One draw is added to each side, so that it is never 0. What is 0 but for rounding is no sign.

    Example:
        >>> bootstrap_p(np.array([0.1, 0.2, 0.3])), bootstrap_p(np.zeros(5))
        (0.5, 1.0)
    """
    defined = draws[~np.isnan(draws)]
    smaller = min(int((defined <= _ROUNDING).sum()), int((defined >= -_ROUNDING).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(defined) + 1))

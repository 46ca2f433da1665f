"""Intervals of shares: Wilson and Clopper-Pearson, and both for patients with several images.

Images of a patient are alike, so n of them are worth fewer. The effective number is n over the design effect (the
variance between patients over the binomial one), corrected for the few patients it was estimated from (Korn and
Graubard, Survey Methodology 1998); it never exceeds n, and where all or none succeed it is the number of patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri, stdtrit

from medvlp.core.errors import DataError
from medvlp.statistics.bootstrap import Interval


def wilson(successes: float, n: float, *, level: float = 0.95) -> Interval:
    """Return the score interval of a share (Wilson, JASA 1927).

    Args:
        successes: 0 to n; need not be whole.
        n: trials, or their effective number.

    Raises:
        DataError: if n is not above 0 or there are more successes than trials.

    Example:
        >>> found = wilson(8, 10)
        >>> round(found.low, 4), round(found.high, 4)
        (0.4902, 0.9433)
    """
    share, z = _checked(successes, n), float(ndtri((1 + level) / 2))
    wide = z * z / n
    centre = (share + wide / 2) / (1 + wide)
    reach = z / (1 + wide) * np.sqrt(share * (1 - share) / n + wide / (4 * n))
    low = 0.0 if successes == 0 else max(0.0, centre - reach)
    high = 1.0 if successes == n else min(1.0, centre + reach)
    return Interval(float(low), float(high), 0, 0)


def clopper_pearson(successes: float, n: float, *, level: float = 0.95) -> Interval:
    """Return the exact interval of a share (Clopper and Pearson, Biometrika 1934); arguments as `wilson`.

    Example:
        >>> found = clopper_pearson(8, 10)
        >>> round(found.low, 4), round(found.high, 4)
        (0.4439, 0.9748)
    """
    _checked(successes, n)
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else betaincinv(successes, n - successes + 1, tail)
    high = 1.0 if successes == n else betaincinv(successes + 1, n - successes, 1 - tail)
    return Interval(float(low), float(high), 0, 0)


@dataclass(frozen=True, slots=True)
class Share:
    """A proportion with its counts and interval.

    Attributes:
        value: successes / n; None without rows.
        n: rows.
        patients: patients among them.
        effective: rows that as many independent ones would be worth.
    """

    value: float | None
    n: int
    patients: int
    effective: float

    @property
    def clustered(self) -> bool:
        """True where some patient has several rows."""
        return self.patients < self.n

    def wilson(self, *, level: float = 0.95) -> Interval:
        """Return the Wilson interval with the effective number; without limits where there are no rows."""
        if self.value is None:
            return Interval(None, None, 0, 0)
        return wilson(self.value * self.effective, self.effective, level=level)


def share_of(success: ArrayLike, patient: ArrayLike, *, level: float = 0.95) -> Share:
    """Return a share over rows of patients.

    Args:
        success: ``(n,)`` booleans.
        patient: ``(n,)`` integer codes from 0.
        level: of the interval that the effective number is for.

    Example:
        >>> share_of([True, True, False, False], [0, 1, 2, 3]).effective
        4.0
        >>> round(share_of([True, True, False, False], [0, 0, 1, 1]).effective, 3)
        0.063
    """
    hit, code = np.asarray(success, dtype=np.float64), np.asarray(patient, dtype=np.int64)
    n = len(hit)
    if not n:
        return Share(None, 0, 0, 0.0)
    rows = np.bincount(code)
    present = rows > 0
    patients = int(present.sum())
    value = float(hit.mean())
    if patients == n:
        return Share(value, n, n, float(n))
    if value in (0.0, 1.0):
        return Share(value, n, patients, float(patients))
    if patients == 1:
        return Share(value, n, 1, 1.0)
    residual = np.bincount(code, weights=hit - value)[present]
    between = patients / (patients - 1) * float(residual @ residual) / n**2
    independent = n if between == 0 else min(n, value * (1 - value) / between)
    tail = (1 + level) / 2
    correction = (float(stdtrit(n - 1, tail)) / float(stdtrit(patients - 1, tail))) ** 2
    return Share(value, n, patients, float(independent * correction))


def _checked(successes: float, n: float) -> float:
    if not n > 0 or not 0 <= successes <= n:
        raise DataError(f"{successes:g} of {n:g} is no share: give at least one trial and no more successes than that.")
    return successes / n

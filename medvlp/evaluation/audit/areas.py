"""AUROCs of parts of a cohort, and their differences, where a patient may have cases in both parts.

An area keeps by how much each patient moves it; sums of squares are variances and sums of products covariances (DeLong
et al. 1988; Obuchowski, Biometrics 1997), so a gap between two groups, or between means over findings, needs nothing
more. Tests are made on the log-odds scale with Student's t: with 10 positive patients of AUROC 0.85 in the smaller
group a test at 5 % is then wrong in 3 to 6 %, where the plain difference and a normal law are wrong in 10 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logit, stdtr

from medvlp.evaluation.scoring.split import Finding
from medvlp.statistics.bootstrap import Interval, count_patients
from medvlp.statistics.delong import delong_interval
from medvlp.statistics.influence import by_patient, influence_rows
from medvlp.statistics.metrics import FloatArray, auroc


@dataclass(frozen=True, slots=True)
class Area:
    """An AUROC, or a mean of several.

    Attributes:
        value: 0 to 1.
        moved: ``(P,)`` by how much each patient moves it; the squares sum to its variance.
        freedom: degrees of freedom of that variance: patients of the smaller class less one.
    """

    value: float
    moved: FloatArray
    freedom: float

    @property
    def variance(self) -> float:
        """Sum of the squares; 0 where a score divides the classes."""
        return float(self.moved @ self.moved)

    @property
    def plain(self) -> bool:
        """True where the area has log-odds and a variance."""
        return 0 < self.value < 1 and self.variance > 1e-18

    def log_odds(self) -> FloatArray:
        """Return by how much each patient moves the log-odds of the area, ``(P,)``."""
        return self.moved / (self.value * (1 - self.value))


@dataclass(frozen=True, slots=True)
class Difference:
    """A group's area less the others'.

    Attributes:
        value: first less second.
        interval: from the intervals of both sides (square and add); without limits where one has none.
        p: two-sided; None where one side has no variance.
    """

    value: float
    interval: Interval
    p: float | None


def patient_area(finding: Finding, patients: int) -> Area:
    """Return the AUROC of a finding's rows, which must be of two patients or more in each class.

    Args:
        finding: the rows.
        patients: P of the split.

    Example:
        >>> code = np.arange(5)
        >>> truth, scores = np.array([False, False, True, True, True]), np.array([0.1, 0.4, 0.35, 0.8, 0.9])
        >>> area = patient_area(Finding("edema", code, truth, scores, code, 3, 5, None), 5)
        >>> round(area.value, 4), round(area.variance, 4), area.freedom
        (0.8333, 0.0556, 1.0)
    """
    truth = finding.truth
    positive, negative = (count_patients(finding.patient[rows]) for rows in (truth, ~truth))
    widen = np.where(truth, np.sqrt(positive / (positive - 1)), np.sqrt(negative / (negative - 1)))
    moved = by_patient(widen[:, None] * influence_rows(truth, finding.scores)[:, :1], finding.patient, patients)[:, 0]
    return Area(auroc(truth, finding.scores), moved, float(min(positive, negative) - 1))


def mean_area(areas: Sequence[Area]) -> Area:
    """Return the mean of one area or more, of the same patients."""
    variances = np.array([each.variance for each in areas])
    freedom = [each.freedom for each in areas]
    total = float(variances.sum())
    return Area(
        float(np.mean([each.value for each in areas])),
        np.mean([each.moved for each in areas], axis=0),
        min(freedom) if total == 0 else total**2 / float((variances**2 / np.array(freedom)).sum()),
    )


def area_interval(area: Area, *, level: float = 0.95) -> Interval:
    """Return the interval on the log-odds scale; without limits where the area is 0 or 1.

    Example:
        >>> found = area_interval(Area(0.8, np.array([0.03, -0.04]), 99.0))
        >>> round(found.low, 3), round(found.high, 3)
        (0.683, 0.881)
    """
    return delong_interval(area.value, area.variance if area.plain else 0.0, patients=area.freedom + 1, level=level)


def area_p(area: Area) -> float | None:
    """Return the two-sided p value of "the area is a half"; None where it has no variance."""
    if not area.plain:
        return None
    return _two_sided(float(logit(area.value)), float(np.linalg.norm(area.log_odds())), area.freedom)


def gap_between(group: Area, others: Area, *, level: float = 0.95) -> Difference:
    """Return the difference of two areas of the same patients, with patients in both accounted for.

    The interval adds the squared reaches of both sides' intervals (Newcombe, Statistics in Medicine 1998; with the
    covariance, Zou and Donner 2008); the test is of equal log-odds, with Satterthwaite's degrees of freedom.

    Example:
        >>> one, other = Area(0.75, np.array([0.03, -0.04, 0, 0]), 60.0), Area(0.85, np.array([0, 0, 0.02, 0.02]), 60.0)
        >>> gap = gap_between(one, other)
        >>> round(gap.value, 2), round(gap.interval.low, 3), round(gap.interval.high, 3), round(gap.p, 3)
        (-0.1, -0.222, 0.009, 0.069)
    """
    value = group.value - others.value
    if not (group.plain and others.plain):
        return Difference(value, Interval(None, None, 0, 0), None)
    moved = group.log_odds() - others.log_odds()
    variances = [float(each.log_odds() @ each.log_odds()) for each in (group, others)]
    # Where the sides share patients this is a little too few, never too many.
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / group.freedom + variances[1] ** 2 / others.freedom)
    p = _two_sided(float(logit(group.value) - logit(others.value)), float(np.linalg.norm(moved)), freedom)
    alike = float(group.moved @ others.moved) / np.sqrt(group.variance * others.variance)
    mine, theirs = (area_interval(each, level=level).ends for each in (group, others))
    low = value - _added(group.value - mine[0], theirs[1] - others.value, alike)
    high = value + _added(mine[1] - group.value, others.value - theirs[0], alike)
    return Difference(value, Interval(low, high, 0, 0), p)


def _added(one: float, other: float, alike: float) -> float:
    return float(np.sqrt(max(one**2 + other**2 - 2 * alike * one * other, 0.0)))


def _two_sided(value: float, error: float, freedom: float) -> float:
    if error < 1e-12:
        return 1.0 if abs(value) < 1e-12 else 0.0
    return float(2 * stdtr(freedom, -abs(value) / error))

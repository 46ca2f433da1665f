"""Rows of results of the gaps between groups: AUROC, and sensitivity and specificity at thresholds of validation rows.

A gap is a group's number less that of all others. Where a group, or the others, have too few patients of a class there
is no number. The mean over findings is of those that have a number on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from medvlp.evaluation.audit.areas import Area, area_interval, gap_between, mean_area, patient_area
from medvlp.evaluation.audit.parts import Part, sides
from medvlp.evaluation.metric_row import share_limits, with_interval, with_test
from medvlp.evaluation.results import Metric
from medvlp.evaluation.scoring.fitted import FittedFinding
from medvlp.evaluation.scoring.split import Finding, SplitData
from medvlp.statistics.bootstrap import Interval, count_patients
from medvlp.statistics.few import TOO_FEW, mean_reason
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.proportions import share_of


@dataclass(frozen=True, slots=True)
class Gaps:
    """The rows of one part of the cohort, for comparing groups.

    Attributes:
        gaps: one row a finding, then the macro average where there are several findings.
        areas: the same of the group's own AUROC.
    """

    gaps: tuple[Metric, ...]
    areas: tuple[Metric, ...]


def area_gaps(data: SplitData, part: Part) -> Gaps:
    """Return the AUROC gaps of a part."""
    gaps, areas, both = [], [], []
    taking_part = {finding.name for finding in data.averaged()}
    for finding in data.findings:
        mine, theirs, enough = sides(data, part, finding)
        gap, area = (data.row(mine, metric, group=part.name) for metric in ("auroc_gap", "auroc"))
        if enough:
            one, other = (patient_area(each, data.clusters.patients) for each in (mine, theirs))
            if theirs.few in TOO_FEW:
                gap = replace(gap, reason=theirs.few)
            gap, area = _gap(gap, one, other), _area(area, one)
            if finding.name in taking_part:
                both.append((mine, one, other, gap.reason))
        else:
            gap, area = (replace(row, reason="n_too_small") for row in (gap, area))
        gaps.append(gap)
        areas.append(area)
    if len(data.findings) > 1:
        findings = [mine for mine, *_ in both]
        gap, area = (
            replace(data.average_row(findings, metric, "macro"), group=part.name) for metric in ("auroc_gap", "auroc")
        )
        if both:
            one, other = mean_area([one for _, one, *_ in both]), mean_area([other for *_, other, _ in both])
            gap = replace(gap, reason=mean_reason([reason for *_, reason in both]))
            gap, area = _gap(gap, one, other), _area(area, one)
        else:
            patients = count_patients(data.clusters.patient[part.rows])
            counts = replace(gap.counts, n=int(part.rows.sum()), patients=patients)
            gap, area = (replace(row, reason="n_too_small", counts=counts) for row in (gap, area))
        gaps.append(gap)
        areas.append(area)
    return Gaps(tuple(gaps), tuple(areas))


def rate_gaps(data: SplitData, part: Part, fitted: Mapping[str, FittedFinding]) -> list[Metric]:
    """Return the gaps of sensitivity and specificity at every operating point, of parts that are large enough.

    The test compares both sides with their common share, patients as units; the interval is Newcombe's from two Wilson
    intervals for patients with several images.
    """
    rows = []
    for finding in data.findings:
        mine, theirs, enough = sides(data, part, finding)
        for point in fitted[finding.name].points if enough else ():
            for metric in ("sensitivity", "specificity"):
                row = replace(
                    data.row(mine, f"{metric}_gap", group=part.name),
                    operating_point=point.rule,
                    threshold=point.threshold,
                )
                one, other = (_hits(each, metric, point.threshold) for each in (mine, theirs))
                rows.append(_rate_gap(row, one, other, data.clusters.patients))
    return rows


def worst_rows(rows: Sequence[Metric], columns: Mapping[str, str]) -> list[Metric]:
    """Return for each column the group furthest below the others, by the mean over findings (or the only finding).

    No interval: the worst of several is chosen for being low, and one made for a single group would not hold.

    Args:
        rows: ``auroc_gap`` of groups.
        columns: column of each group.
    """
    found = []
    last = {row.group: row for row in rows}
    for column in dict.fromkeys(columns.values()):
        members = [(row.value, row) for row in last.values() if columns[str(row.group)] == column]
        defined = [(value, row) for value, row in members if value is not None]
        if defined:
            _, worst = min(defined, key=lambda pair: pair[0])
            interval = replace(worst.interval, low=None, high=None, method="none", form="none")
            test = replace(worst.test, p=None, p_corrected=None, tests=None)
            found.append(replace(worst, metric="worst_auroc_gap", interval=interval, test=test))
    return found


def family(row: Metric) -> tuple[object, ...]:
    """Tests that are corrected together: of one metric at one operating point, over findings and groups.

    Averages over findings are a family of their own. Two groups of one column are each other's others: both count.
    """
    return row.metric, row.operating_point, row.label == "macro"


def _gap(row: Metric, one: Area, other: Area) -> Metric:
    found = gap_between(one, other, level=row.interval.level)
    row = replace(row, value=found.value, test=replace(row.test, first=other.value, second=one.value))
    return with_test(row, found.p, found.interval, form="square_and_add")


def _area(row: Metric, area: Area) -> Metric:
    row = replace(row, value=area.value, chance=0.5)
    found = area_interval(area, level=row.interval.level)
    if found.low is None:
        return replace(row, reason="separated")
    return with_interval(row, found, method="delong_clustered", form="logit")


def _hits(finding: Finding, metric: str, threshold: float) -> tuple[FloatArray, Finding]:
    """Return success (1 or 0) of the rows that a metric is a share of, and these rows."""
    rows = finding.subset(finding.truth if metric == "sensitivity" else ~finding.truth)
    called = rows.scores >= threshold
    return (called if metric == "sensitivity" else ~called).astype(np.float64), rows


def _rate_gap(row: Metric, one: tuple[FloatArray, Finding], other: tuple[FloatArray, Finding], patients: int) -> Metric:
    shares = [share_of(hit, rows.patient, level=row.interval.level) for hit, rows in (one, other)]
    (mine, low, high), (theirs, least, most) = (share_limits(share, level=row.interval.level) for share in shares)
    reach = float(np.hypot(mine - low, most - theirs)), float(np.hypot(high - mine, theirs - least))
    row = replace(
        row, value=mine - theirs, test=replace(row.test, first=theirs, second=mine, p=_rate_p(one, other, patients))
    )
    method = "wilson_clustered" if any(share.clustered for share in shares) else "wilson"
    found = Interval(mine - theirs - reach[0], mine - theirs + reach[1], 0, 0)
    return with_interval(row, found, method=method, form="square_and_add")


def _rate_p(one: tuple[FloatArray, Finding], other: tuple[FloatArray, Finding], patients: int) -> float:
    common = float(np.concatenate([one[0], other[0]]).mean())
    moved = np.zeros(patients)
    for (hit, rows), sign in ((one, 1.0), (other, -1.0)):
        moved += sign * np.bincount(rows.patient, weights=hit - common, minlength=patients) / len(hit)
    used = int(np.count_nonzero(moved))
    if used < 2:
        return 1.0
    difference = float(one[0].mean() - other[0].mean())
    return float(2 * ndtr(-abs(difference) / np.sqrt(float(moved @ moved) * used / (used - 1))))

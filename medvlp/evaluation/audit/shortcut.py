"""Does a score know where a picture was made? Rows of results, for columns such as site, scanner and view.

The score of a finding ranks the cases of one site against all others, among cases without the finding, so that a site
which sees the finding more often is no alarm. Nor is one that sees more of the other findings: what their labels
explain of the score is taken off first (least squares on the score's normal ranks). What is left should be a half. The
variance counts all of the score's spread within the class, so a test of what is left is a little too careful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from medvlp.evaluation.audit.areas import Area, area_interval, area_p, patient_area
from medvlp.evaluation.audit.parts import Part
from medvlp.evaluation.metric_row import with_interval
from medvlp.evaluation.results import Metric
from medvlp.evaluation.scoring.split import Finding, SplitData
from medvlp.statistics.few import TOO_FEW
from medvlp.statistics.metrics import FloatArray

# Rows that the effect of one other label needs, so that taking it off does not take off chance as well.
_ROWS_A_LABEL = 20


@dataclass(frozen=True, slots=True)
class _Class:
    """Cases of a finding that are told apart by group: the metric's name, and their scores."""

    metric: str
    cases: Finding


def shortcut_rows(data: SplitData, parts: Sequence[Part]) -> list[Metric]:
    """Return for each part and finding the AUROC of the score for membership of the part.

    ``shortcut_auroc`` is among cases without the finding and is tested, ``shortcut_auroc_positives`` among those with
    it; ``shortcut_auroc_all`` is among all cases, whatever their labels: what of it the labels explain is the
    difference.
    """
    rows = []
    labels = np.full((len(data.findings), len(data.clusters.patient)), np.nan)  # (K, n), NaN where not known
    for row, finding in zip(labels, data.findings, strict=True):
        row[finding.at] = finding.truth
    for finding in data.findings:
        others = labels[[each.name != finding.name for each in data.findings]][:, finding.at]
        classes = [_Class("shortcut_auroc_all", finding)]
        for metric, chosen in (("shortcut_auroc", ~finding.truth), ("shortcut_auroc_positives", finding.truth)):
            cases = finding.subset(chosen)
            classes.append(_Class(metric, replace(cases, scores=without_labels(cases.scores, others[:, chosen]))))
        rows += [_row(data, part, finding.name, each) for part in parts for each in classes]
    return rows


def without_labels(scores: FloatArray, labels: FloatArray) -> FloatArray:
    """Return normal ranks of scores less what labels explain of them.

    Args:
        scores: ``(n,)``.
        labels: ``(K, n)`` of 1, 0 and NaN; a label that is not known explains as much as the mean of those that are.
            Of more labels than ``n / 20`` those that vary most are used.

    Example:
        >>> label = np.arange(400.0) % 2
        >>> noise = np.random.default_rng(0).normal(size=400)
        >>> left = without_labels(3 * label + noise, label[None])
        >>> bool(abs(np.corrcoef(left, label)[0, 1]) < 1e-12), bool(np.corrcoef(left, noise)[0, 1] > 0.9)
        (True, True)
    """
    if not len(scores):
        return scores
    normal = ndtri(rankdata(scores) / (len(scores) + 1))
    known = np.isfinite(labels)
    mean = np.where(known, labels, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    columns = np.where(known, labels - mean[:, None], 0.0)
    spread = (columns**2).sum(axis=1)
    most = [at for at in np.argsort(-spread, kind="stable")[: len(scores) // _ROWS_A_LABEL] if spread[at] > 0]
    if not most:
        return normal
    design = np.vstack([np.ones(len(scores)), columns[most]]).T
    return normal - design @ np.linalg.lstsq(design, normal, rcond=None)[0]


def _row(data: SplitData, part: Part, label: str, each: _Class) -> Metric:
    # Of this group or not stands as the truth; cases without a value are left out.
    member: NDArray[np.bool_] = part.rows[each.cases.at]
    cases = replace(each.cases, truth=member).subset(member | part.others[each.cases.at])
    row = data.row(cases, each.metric, group=part.name)
    row = replace(row, label=label, counts=replace(row.counts, prevalence=None), chance=0.5)
    if data.too_small(cases):
        return replace(row, reason="n_too_small")
    area: Area = patient_area(cases, data.clusters.patients)
    row = replace(row, value=area.value)
    if row.reason in TOO_FEW:
        return row
    found = area_interval(area, level=row.interval.level)
    if found.low is None:
        return replace(row, reason="separated")
    p = area_p(area) if each.metric == "shortcut_auroc" else None
    return with_interval(replace(row, test=replace(row.test, p=p)), found, method="delong_clustered", form="logit")

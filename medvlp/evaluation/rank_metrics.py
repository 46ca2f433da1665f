"""Metrics of the rankings of the findings of one split, averaged and by group, all from the same resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medvlp.core.grouped import grouped
from medvlp.evaluation.metric_row import is_separated, separated, with_draws, with_interval, without_interval
from medvlp.evaluation.rank_columns import Column, Estimate, column_of, estimates, mean_estimate
from medvlp.evaluation.results import AVERAGES, ConfidenceInterval, Metric
from medvlp.evaluation.scoring.split import Finding, SplitData, pooled
from medvlp.statistics.few import TOO_FEW
from medvlp.statistics.influence import acceleration
from medvlp.statistics.proportions import clopper_pearson
from medvlp.statistics.table import rank_metrics as table_of_ranks

ALIKE = "_alike"
"""Ends the metric of everybody's mean over the findings of a group's mean, where these are not all."""


def rank_metrics(data: SplitData) -> list[Metric]:
    """Return the rows of one split; the options of thresholds and calibrations are not looked at.

    A group's mean is over the findings of everybody's mean that it has enough patients of. Where these are fewer, a row
    ``auroc_alike`` of the group says what everybody reaches over the same ones: the two can be compared.
    """
    common = data.averaged()
    taking_part = {finding.name for finding in common}
    parts = [(None, finding) for finding in data.findings]
    parts += [(name, part) for group in data.groups for name, part in data.in_group(group)]
    columns = grouped((name, column_of(data, part, name)) for name, part in parts)
    micro = column_of(data, pooled("micro", common)) if len(common) > 1 else None
    every = [column for members in columns.values() for column in members]
    found = estimates([*every, *([micro] if micro else [])], data)

    metrics: list[Metric] = []
    for group, members in columns.items():
        averaged = [each.finding for each in members if each.ranked is not None and each.finding.name in taking_part]
        labels = [each.name for each in averaged]
        own = [found[label, group] for label in labels]
        for at, metric in enumerate(table_of_ranks()):
            rows = [(_row(data, each, metric), found.get((each.finding.name, group))) for each in members]
            macro = _macro_row(data, averaged, metric, [each.finding for each in members])
            rows.append((replace(macro, group=group), mean_estimate(own)))
            if group is not None and averaged and len(averaged) < len(common):
                same = [finding for finding in common if finding.name in labels]
                row = replace(_macro_row(data, same, metric), metric=metric + ALIKE, group=group)
                rows.append((row, mean_estimate([found[label, None] for label in labels])))
            if group is None and len(averaged) > 1:
                weights = np.array([each.positives for each in averaged], np.float64)
                weighted = replace(macro, label="weighted", chance=_chance(metric, averaged, weights))
                rows.append((weighted, mean_estimate(own, weights)))
            if group is None and micro is not None:
                row = _row(data, micro, metric)
                counts = replace(row.counts, labels_used=len(common), min_positives=macro.counts.min_positives)
                rows.append((replace(row, counts=counts), found["micro", None]))
            metrics += [_with_interval(row, value, at, data) for row, value in rows]
    return metrics


def _row(data: SplitData, column: Column, metric: str) -> Metric:
    chance = None if column.ranked is None else _chance(metric, [column.finding])
    return replace(data.row(column.finding, metric, group=column.group), chance=chance, reason=column.reason)


def _macro_row(data: SplitData, averaged: Sequence[Finding], metric: str, among: Sequence[Finding] = ()) -> Metric:
    return replace(data.average_row(averaged, metric, "macro", among=among), chance=_chance(metric, averaged))


def _chance(metric: str, averaged: Sequence[Finding], weights: np.ndarray | None = None) -> float | None:
    """Return the chance of a mean; that of an AUROC is known without a finding."""
    prevalence = [each.positives / len(each.truth) for each in averaged]
    chance = table_of_ranks()[metric].chance(float(np.average(prevalence, weights=weights)) if averaged else np.nan)
    return None if np.isnan(chance) else chance


def _with_interval(row: Metric, estimate: Estimate | None, at: int, data: SplitData) -> Metric:
    if estimate is None:
        return replace(row, interval=ConfidenceInterval(level=row.interval.level))
    value, draws, moved = float(estimate.point[at]), estimate.draws[:, at], estimate.influence
    row = replace(row, value=value)
    if not len(draws) or row.reason in TOO_FEW:
        return without_interval(row)
    if is_separated(value, draws):
        return _without_spread(row, value, estimate.smaller)
    speed = None if moved is None else acceleration(moved[:, at], data.clusters)
    return with_draws(row, draws, form=data.options.interval, patients=estimate.smaller, acceleration=speed)


def _without_spread(row: Metric, value: float, smaller: int) -> Metric:
    """Return the row of a score that divides the classes, where a bootstrap sees no doubt at all.

    Pair each of the m patients of the smaller class with one of the other: all m pairs are ranked right with a chance
    of AUROC^m, so the exact limit of m successes of m holds for the AUROC. There is no such bound for others.
    """
    if not table_of_ranks()[row.metric.removesuffix(ALIKE)].exact or row.label in AVERAGES or smaller < 1:
        return separated(row)
    found = clopper_pearson(smaller * value, smaller, level=row.interval.level)
    return with_interval(row, found, method="exact", form="clopper_pearson")

"""Metrics of the rankings of the findings of one split, averaged and by group, all from the same resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from medvlp.evaluation.metric_row import is_separated, separated, with_interval, without_interval
from medvlp.evaluation.predictions import groups_of, known_rows
from medvlp.evaluation.rank_columns import Column, Estimate, column_of, estimates, mean_estimate, pooled_column
from medvlp.evaluation.results import AVERAGES, ConfidenceInterval, Counts, Metric
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.statistics.bootstrap import Clusters, count_patients, patient_clusters
from medvlp.statistics.few import TOO_FEW, mean_reason
from medvlp.statistics.influence import acceleration
from medvlp.statistics.intervals import Form, interval_of
from medvlp.statistics.proportions import clopper_pearson
from medvlp.statistics.table import rank_metrics as table_of_ranks

ALIKE = "_alike"
"""Ends the metric of everybody's mean over the findings of a group's mean, where these are not all."""


def rank_metrics(table: pd.DataFrame, findings: Sequence[str], options: ScoreOptions, *, split: str) -> list[Metric]:
    """Return the rows of one split.

    A group's mean is over the findings of everybody's mean that it has enough patients of. Where these are fewer, a row
    ``auroc_alike`` of the group says what everybody reaches over the same ones: the two can be compared.

    Args:
        table: checked rows of the split.
        findings: its findings.
        options: of the statistics; those of thresholds and calibrations are not looked at.
        split: its name.
    """
    level, min_positives = options.level, options.min_positives
    parsed = {finding: known_rows(table, finding, policy=options.policy) for finding in findings}
    any_positive = np.any([rows.positive for rows in parsed.values()], axis=0)
    clusters = patient_clusters(table["patient_id"].astype(str), any_positive)
    with_influence = options.interval == "bca" and options.resamples > 0
    everybody = [column_of(rows, None, rows.known, clusters, with_influence) for rows in parsed.values()]
    taking_part = [each.label for each in everybody if each.ranked is not None and each.positives >= min_positives]
    part = [parsed[label] for label in taking_part]
    pooled = pooled_column(part, clusters, with_influence) if len(part) > 1 else None
    grouped = [
        column_of(
            parsed[finding],
            group.name,
            parsed[finding].known & group.inside(parsed[finding].positive),
            clusters,
            with_influence,
            least=options.min_group,
        )
        for group in groups_of(table, findings)
        for finding in group.findings
    ]
    columns = everybody + grouped
    every = [*columns, *([pooled] if pooled else [])]
    found = estimates(every, clusters, resamples=options.resamples, seed=options.seed)

    metrics: list[Metric] = []
    kinds = table_of_ranks()
    for group in dict.fromkeys(column.group for column in columns):
        members = [column for column in columns if column.group == group]
        averaged = [each for each in members if each.ranked is not None and each.label in taking_part]
        labels = [each.label for each in averaged]
        for at, metric in enumerate(kinds):
            rows = [(_row(column, metric, split, level), found.get((column.label, column.group))) for column in members]
            macro = _macro_row(members, averaged, metric, split, level, group, clusters, min_positives)
            rows.append((macro, mean_estimate([found[label, group] for label in labels])))
            if group is not None and averaged and labels != taking_part:
                same = [each for each in everybody if each.label in labels]
                row = _macro_row(everybody, same, metric, split, level, None, clusters, min_positives)
                row = replace(row, metric=metric + ALIKE, group=group)
                rows.append((row, mean_estimate([found[label, None] for label in labels])))
            if group is None and len(averaged) > 1:
                weights = np.array([column.positives for column in averaged], np.float64)
                own = [found[label, None] for label in labels]
                rows.append((_weighted_row(macro, averaged, metric), mean_estimate(own, weights)))
            if group is None and pooled is not None:
                micro = _row(pooled, metric, split, level)
                counts = replace(micro.counts, labels_used=len(taking_part), min_positives=macro.counts.min_positives)
                rows.append((replace(micro, counts=counts), found["micro", None]))
            made = (_with_interval(row, value, at, options.interval, clusters) for row, value in rows)
            metrics += [replace(row, policy=options.policy) for row in made]
    return metrics


def _row(column: Column, metric: str, split: str, level: float) -> Metric:
    prevalence = column.positives / column.n if column.n else None
    return Metric(
        metric=metric,
        label=column.label,
        value=None,
        split=split,
        group=column.group,
        chance=None if column.ranked is None or prevalence is None else table_of_ranks()[metric].chance(prevalence),
        reason=column.reason,
        interval=ConfidenceInterval(level=level),
        counts=Counts(n=column.n, positives=column.positives, patients=column.patients, prevalence=prevalence),
    )


def _macro_row(
    members: Sequence[Column],
    averaged: Sequence[Column],
    metric: str,
    split: str,
    level: float,
    group: str | None,
    clusters: Clusters,
    min_positives: int,
) -> Metric:
    inside = np.any([column.inside for column in averaged or members], axis=0)
    return Metric(
        metric=metric,
        label="macro",
        value=None,
        split=split,
        group=group,
        chance=_chance(metric, averaged),
        reason=_why(members, averaged),
        interval=ConfidenceInterval(level=level),
        counts=Counts(
            n=int(inside.sum()),
            positives=sum(column.positives for column in averaged),
            patients=count_patients(clusters.patient[inside]),
            labels_used=len(averaged),
            min_positives=min_positives if min_positives > 1 else None,
        ),
    )


def _chance(metric: str, averaged: Sequence[Column]) -> float | None:
    """Return the chance of a mean; that of an AUROC is known without a finding."""
    prevalence = float(np.mean([each.positives / each.n for each in averaged])) if averaged else float("nan")
    chance = table_of_ranks()[metric].chance(prevalence)
    return None if np.isnan(chance) else chance


def _why(members: Sequence[Column], averaged: Sequence[Column]) -> str | None:
    """Return what is to be known of a mean, or why there is none."""
    if averaged:
        return mean_reason([column.reason for column in averaged])
    both = any(column.ranked is not None or column.reason == "n_too_small" for column in members)
    return "none_large_enough" if both else "no_labels"


def _weighted_row(macro: Metric, averaged: Sequence[Column], metric: str) -> Metric:
    positives = np.array([column.positives for column in averaged], np.float64)
    prevalence = np.array([column.positives / column.n for column in averaged])
    chance = table_of_ranks()[metric].chance(float(np.average(prevalence, weights=positives)))
    return replace(macro, label="weighted", chance=chance)


def _with_interval(row: Metric, estimate: Estimate | None, at: int, form: Form, clusters: Clusters) -> Metric:
    if estimate is None:
        return row
    value = float(estimate.point[at])
    if not len(estimate.draws) or row.reason in TOO_FEW:
        return without_interval(replace(row, value=value))
    if is_separated(value, estimate.draws[:, at]):
        return _without_spread(row, value, estimate.smaller)
    moved = estimate.influence
    speed = 0.0 if moved is None else acceleration(moved[:, at], clusters)
    found = interval_of(
        estimate.draws[:, at],
        value=value,
        form=form,
        level=row.interval.level,
        acceleration=speed,
        patients=estimate.smaller,
    )
    return with_interval(replace(row, value=value), found, method="patient_bootstrap", form=form)


def _without_spread(row: Metric, value: float, smaller: int) -> Metric:
    """Return the row of a score that divides the classes, where a bootstrap sees no doubt at all.

    Pair each of the m patients of the smaller class with one of the other: all m pairs are ranked right with a chance
    of AUROC^m, so the exact limit of m successes of m holds for the AUROC. There is no such bound for others.
    """
    if not table_of_ranks()[row.metric.removesuffix(ALIKE)].exact or row.label in AVERAGES or smaller < 1:
        return separated(replace(row, value=value))
    found = clopper_pearson(smaller * value, smaller, level=row.interval.level)
    return with_interval(replace(row, value=value), found, method="exact", form="clopper_pearson")

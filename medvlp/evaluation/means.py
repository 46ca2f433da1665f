"""A mean over cases with its interval over patients: Dice, accuracy, overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medvlp.evaluation.metric_row import metric_row
from medvlp.evaluation.results import Counts, Metric
from medvlp.statistics.bootstrap import bootstrap, patient_clusters
from medvlp.statistics.metrics import FloatArray

__all__ = ["macro_mean_metric", "mean_metric"]


def mean_metric(
    metric: str,
    label: str,
    values: FloatArray,
    patients: Sequence[str],
    *,
    seed: int,
    resamples: int,
    split: str = "",
    level: float = 0.95,
) -> Metric:
    """Return the mean of the values that are defined.

    Args:
        metric: name of the number.
        label: of what.
        values: (n,); NaN where a case says nothing.
        patients: (n,).
        seed: of the bootstrap.
        resamples: over patients; 0 for no interval.
        split: written into the row.
        level: confidence level.

    Example:
        >>> row = mean_metric("dice", "lung", np.array([0.5, 1.0, np.nan]), ["a", "b", "c"], seed=0, resamples=0)
        >>> row.value, row.n
        (0.75, 2)
    """
    return _mean(metric, label, np.asarray(values, float)[:, None], patients, seed, resamples, split, level, None)


def macro_mean_metric(
    metric: str,
    values: FloatArray,
    patients: Sequence[str],
    *,
    seed: int,
    resamples: int,
    split: str = "",
    level: float = 0.95,
) -> Metric:
    """Return the mean over labels of their means over cases; a resample leaves out labels without a case in it.

    Args:
        metric: name of the number.
        values: (n, K), NaN where a case says nothing of a label.
        patients: (n,).
        seed: of the bootstrap.
        resamples: over patients.
        split: written into the row.
        level: confidence level.

    Example:
        >>> macro_mean_metric("dice", np.array([[1.0, np.nan], [0.0, 0.9]]), ["a", "b"], seed=0, resamples=0).value
        0.7
    """
    used = int(np.isfinite(values).any(axis=0).sum())
    return _mean(metric, "macro", np.asarray(values, float), patients, seed, resamples, split, level, used)


def _mean(
    metric: str,
    label: str,
    values: FloatArray,
    patients: Sequence[str],
    seed: int,
    resamples: int,
    split: str,
    level: float,
    labels_used: int | None,
) -> Metric:
    there = np.flatnonzero(np.isfinite(values).any(axis=1))
    values, who = values[there], [str(patients[row]) for row in there.tolist()]
    row = Metric(metric=metric, label=label, value=None, split=split, policy="none", counts=Counts(n=0, patients=0))
    if not len(values):
        return metric_row(replace(row, reason="no_rows"), None, None)
    clusters = patient_clusters(np.asarray(who))
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)

    def statistic(weights: FloatArray) -> FloatArray:
        row = weights[clusters.patient]  # (n, B)
        total = known.T.astype(float) @ row
        each = np.where(total > 0, filled.T @ row / np.where(total > 0, total, 1.0), np.nan)  # (K, B)
        count = (total > 0).sum(axis=0)
        return np.where(count > 0, np.nansum(each, axis=0) / np.maximum(count, 1), np.nan)[:, None]

    value = float(statistic(np.ones((clusters.patients, 1)))[0, 0])
    draws = bootstrap(statistic, clusters, resamples=resamples, seed=seed, height=len(values)) if resamples else None
    row = replace(
        row,
        interval=replace(row.interval, level=level),
        counts=replace(row.counts, n=len(values), patients=clusters.patients, labels_used=labels_used),
    )
    return metric_row(row, value, None if draws is None else draws[:, 0])

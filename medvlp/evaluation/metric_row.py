"""The rows of a bootstrapped number and of a share, as all measures write them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medvlp.evaluation.results import Metric
from medvlp.statistics.bootstrap import percentile_interval
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.proportions import Share

__all__ = ["metric_row", "share_row"]


def metric_row(row: Metric, value: float | None, draws: FloatArray | None) -> Metric:
    """Return a row with its value and the percentile interval of its draws.

    Args:
        row: with all that is known without a number; its `level` is that of the interval.
        value: NaN or None where it is not defined.
        draws: ``(resamples,)`` of the patient bootstrap, NaN where it is not defined; None or empty for no interval.

    Example:
        >>> row = metric_row(Metric(metric="dice", label="lung", value=None, n=9, patients=9), 0.5, np.arange(101.0))
        >>> row.value, row.high, row.method, row.resamples
        (0.5, 97.5, 'patient_bootstrap', 101)
    """
    row = replace(row, value=None if value is None or np.isnan(value) else float(value))
    if draws is None or not len(draws):
        return replace(row, method="none", interval="none")
    found = percentile_interval(draws, level=row.level)
    return replace(
        row,
        low=found.low,
        high=found.high,
        method="patient_bootstrap",
        interval="percentile",
        resamples=found.used,
        skipped=found.skipped,
    )


def share_row(row: Metric, share: Share) -> Metric:
    """Return a row with a share, its counts and its Wilson interval, that of clusters where patients have several.

    Example:
        >>> row = Metric(metric="flagged", label="gate", value=None, n=0, patients=0)
        >>> made = share_row(row, Share(0.5, n=4, patients=4, effective=4.0))
        >>> made.n, made.method, round(made.low, 2)
        (4, 'wilson', 0.15)
    """
    found = share.wilson()
    return replace(
        row,
        value=share.value,
        low=found.low,
        high=found.high,
        method="wilson_clustered" if share.clustered else "wilson",
        interval="score",
        n=share.n,
        patients=share.patients,
    )

"""The row of a bootstrapped number, as all measures write it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medvlp.evaluation.bootstrap import percentile_interval
from medvlp.evaluation.metrics import FloatArray
from medvlp.evaluation.results import Metric

__all__ = ["metric_row"]


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

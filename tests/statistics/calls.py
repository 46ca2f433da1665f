"""A metric of rows that were called or not: one table of counts, as a reader would make it by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medvlp.core.errors import DataError
from medvlp.statistics.confusion import why_undefined
from medvlp.statistics.metrics import UndefinedMetricError, checked_labels, checked_scores
from medvlp.statistics.table import Confusion


def threshold_metric(name: str, labels: ArrayLike, called: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return a metric of rows that were called or not."""
    truth = checked_labels(labels)
    call = checked_labels(called)
    if call.shape != truth.shape:
        raise DataError(f"Calls have shape {call.shape}, labels have {len(truth)} rows: give one a row.")
    weight = np.ones(len(truth)) if weights is None else checked_scores(weights, rows=len(truth), name="Weights")
    if (weight < 0).any():
        raise DataError("Weights hold negative values: a row's weight is 0 or more.")
    table = Confusion(
        *(np.asarray(weight[rows].sum()) for rows in (truth & call, ~truth & call, truth & ~call, ~truth & ~call))
    )
    value = float(table.metric(name))
    if np.isnan(value):
        reason = why_undefined(table)
        raise UndefinedMetricError(
            f"{name} is not defined for these {len(truth)} rows ({reason}): give rows of both classes, or another "
            f"threshold.",
            reason=reason,
        )
    return value

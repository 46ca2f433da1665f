"""Metrics of the ranking of thousands of resamples: the rows are sorted once, a resample only counts.

A resample gives every patient a weight. With the rows in the order of their scores, two running sums (all rows, and
positive rows) hold every count that any metric needs, in whole numbers. One pass over a vector that stays in the
processor's cache replaced a histogram of all resamples together: a tenth of the time at 100,000 rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.table import Levels, rank_metrics

Counts = NDArray[np.int32]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class RankedRows:
    """Rows of both classes, highest score first; level g is the g-th distinct score that a positive has.

    Attributes:
        patient: ``(n,)`` patient code of each row; of the type that indexes without a copy.
        positive: ``(m,)`` patient codes of the positive rows.
        before: ``(G,)`` rows with a score above level g.
        called: ``(G,)`` rows with a score of level g or above.
        hits: ``(G,)`` positive rows among them.
    """

    patient: Places
    positive: Places
    before: Places
    called: Places
    hits: Places

    def levels(self, weights: Counts) -> Levels | None:
        """Return the rows under patient weights ``(P,)``; None where a class has no weight."""
        rows, positives = _running(weights.take(self.patient)), _running(weights.take(self.positive))
        total, negatives = int(positives[-1]), int(rows[-1]) - int(positives[-1])
        if total == 0 or negatives == 0:
            return None
        hit, called, before = positives.take(self.hits), rows.take(self.called), rows.take(self.before)
        earlier = np.empty_like(hit)
        earlier[0], earlier[1:] = 0, hit[:-1]
        gained = (hit - earlier).astype(np.float64)
        return Levels(gained, hit, called, called - hit + (before - earlier), total, negatives)

    def values(self, weights: Counts) -> tuple[float, ...]:
        """Return every metric of `rank_metrics` under patient weights ``(P,)``; NaN where a class has no weight."""
        metrics, levels = rank_metrics().values(), self.levels(weights)
        return tuple(float("nan") if levels is None else each.value(levels) for each in metrics)

    def tuned(self, weights: Counts) -> tuple[float, float, float, float]:
        """Return what a threshold tuned on these very rows reaches: F1 and accuracy at the largest F1, sensitivity and
        specificity at the largest Youden index; NaN where a class has no weight.
        """
        rows, positives = _running(weights.take(self.patient)), _running(weights.take(self.positive))
        total, n = int(positives[-1]), int(rows[-1])
        if total == 0 or n == total:
            return (float("nan"),) * 4
        hit, called = positives.take(self.hits), rows.take(self.called)
        f1 = 2 * hit / (total + called)
        best = int(np.argmax(f1))
        # In whole numbers, and against calling nothing: the index is never below 0.
        index = hit.astype(np.int64) * (n - total) - (called - hit).astype(np.int64) * total
        cut = int(np.argmax(index))
        accuracy = (n - total - int(called[best]) + 2 * int(hit[best])) / n
        if index[cut] < 0:
            return float(f1[best]), accuracy, 0.0, 1.0
        return float(f1[best]), accuracy, hit[cut] / total, 1 - (called[cut] - hit[cut]) / (n - total)

    def draws(self, weights: Counts) -> FloatArray:
        """Return the K metrics of `rank_metrics` of every resample: weights ``(B, P)``, result ``(B, K)``."""
        return np.array([self.values(row) for row in weights]).reshape(len(weights), len(rank_metrics()))


def rank_rows(labels: NDArray[np.bool_], scores: FloatArray, patient: NDArray[np.int64]) -> RankedRows:
    """Sort rows of both classes once.

    Args:
        labels: ``(n,)`` booleans.
        scores: ``(n,)`` finite.
        patient: ``(n,)`` patient codes from 0.

    Example:
        >>> rows = rank_rows(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8]), np.arange(4))
        >>> area, precision = rows.values(np.ones(4, np.int32))
        >>> area, round(precision, 4)
        (0.75, 0.8333)
    """
    order = np.argsort(-scores, kind="stable")
    descending, truth = scores[order], labels[order]
    code = patient[order].astype(np.intp)
    hit = np.cumsum(truth)
    last = np.append(descending[1:] != descending[:-1], True)
    ends = np.flatnonzero(last) + 1
    starts = np.append(0, ends[:-1])
    found = np.append(0, hit)
    with_positive = found[ends] > found[starts]
    ends, starts = ends[with_positive], starts[with_positive]
    return RankedRows(
        patient=code,
        positive=code[truth],
        before=starts.astype(np.intp),
        called=ends.astype(np.intp),
        hits=found[ends].astype(np.intp),
    )


def _running(counts: Counts) -> Counts:
    """Return the running sum with a leading 0."""
    sums = np.empty(len(counts) + 1, np.int32)
    sums[0] = 0
    np.cumsum(counts, out=sums[1:], dtype=np.int32)
    return sums

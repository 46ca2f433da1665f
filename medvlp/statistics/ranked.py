"""Metrics of the ranking of thousands of resamples: the rows are sorted once, a resample only counts.

A resample gives every patient a weight. With the rows in the order of their scores, two running sums (all rows, and
positive rows) hold every count that any metric needs, in whole numbers. As many resamples are counted at once as the
processor's cache holds: of 200 rows some hundred, of 100,000 one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp.statistics.table import FloatArray, Levels, rank_metrics

Counts = NDArray[np.int32]
Places = NDArray[np.intp]
_AT_ONCE = 1 << 15  # running sums of 4 bytes that stay in the processor's cache


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

    def levels(self, weights: Counts) -> Levels:
        """Return the rows under patient weights ``(..., P)``."""
        rows, positives = (_running(weights.take(codes, axis=-1)) for codes in (self.patient, self.positive))
        total = positives[..., -1].astype(np.int64)
        hit, called, before = (
            sums.take(places, axis=-1)
            for sums, places in ((positives, self.hits), (rows, self.called), (rows, self.before))
        )
        earlier = np.empty_like(hit)
        earlier[..., 0], earlier[..., 1:] = 0, hit[..., :-1]
        gained = (hit - earlier).astype(np.float64)
        return Levels(gained, hit, called, called - hit + (before - earlier), total, rows[..., -1] - total)

    def values(self, weights: Counts) -> tuple[float, ...]:
        """Return every metric of `rank_metrics` under patient weights ``(P,)``; NaN where a class has no weight."""
        return tuple(self.draws(weights[None])[0].tolist())

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
        # In whole numbers, and against calling nothing: where all are as good the one that calls fewest.
        index = hit.astype(np.int64) * (n - total) - (called - hit).astype(np.int64) * total
        cut = int(np.argmax(index))
        accuracy = (n - total - int(called[best]) + 2 * int(hit[best])) / n
        if index[cut] <= 0:
            return float(f1[best]), accuracy, 0.0, 1.0
        return float(f1[best]), accuracy, hit[cut] / total, 1 - (called[cut] - hit[cut]) / (n - total)

    def draws(self, weights: Counts) -> FloatArray:
        """Return the K metrics of `rank_metrics` of every resample: weights ``(B, P)``, result ``(B, K)``.

        NaN where a class has no weight.
        """
        metrics, made = rank_metrics().values(), []
        height = max(1, _AT_ONCE // (len(self.patient) + 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            for start in range(0, len(weights), height):
                levels = self.levels(weights[start : start + height])
                values = np.stack([each.value(levels) for each in metrics], axis=-1)
                made.append(np.where((levels.positives * levels.negatives)[:, None] > 0, values, np.nan))
        return np.concatenate(made) if made else np.zeros((0, len(metrics)))


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
    order = np.argsort(-scores)
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
    """Return the running sums along the last axis with a leading 0."""
    sums = np.empty((*counts.shape[:-1], counts.shape[-1] + 1), np.int32)
    sums[..., 0] = 0
    np.cumsum(counts, axis=-1, out=sums[..., 1:], dtype=np.int32)
    return sums

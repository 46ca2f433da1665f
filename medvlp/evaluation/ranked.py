"""AUROC and average precision of thousands of resamples: the rows are sorted once, a resample only counts.

A resample gives every patient a weight. With the rows in the order of their scores, two running sums (all rows, and
positive rows) hold every count that either metric needs, in whole numbers. One pass over a vector that stays in the
processor's cache replaced a histogram of all resamples together: a tenth of the time at 100,000 rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp.evaluation.metrics import FloatArray

__all__ = ["RankedRows", "rank_rows"]

IntArray = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class RankedRows:
    """Rows of both classes, highest score first; level g is the g-th distinct score that a positive has.

    Attributes:
        patient: ``(n,)`` patient code of each row.
        positive: ``(m,)`` patient codes of the positive rows.
        before: ``(G,)`` rows with a score above level g.
        called: ``(G,)`` rows with a score of level g or above.
        hits: ``(G,)`` positive rows among them.
    """

    patient: IntArray
    positive: IntArray
    before: IntArray
    called: IntArray
    hits: IntArray

    def both(self, weights: IntArray) -> tuple[float, float]:
        """Return AUROC and average precision under patient weights ``(P,)``; NaN where a class has no weight.

        ``AUROC = sum_g p_g (N - (FP_g + FP_before_g) / 2) / (P N)`` and ``AP = sum_g (p_g / P) TP_g / (TP_g + FP_g)``.
        """
        rows = _running(weights[self.patient])
        positives = _running(weights[self.positive])
        total, negatives = int(positives[-1]), int(rows[-1]) - int(positives[-1])
        if total == 0 or negatives == 0:
            return float("nan"), float("nan")
        hit, called, before = positives[self.hits], rows[self.called], rows[self.before]
        earlier = np.empty_like(hit)
        earlier[0], earlier[1:] = 0, hit[:-1]
        gained = (hit - earlier).astype(np.float64)
        false = called - hit + (before - earlier)
        area = float(gained @ (negatives - 0.5 * false)) / (total * negatives)
        # A level that no resampled row reaches has called = 0, gained = 0.
        precision = float(gained @ (hit / np.maximum(called, 1))) / total
        return area, precision

    def draws(self, weights: IntArray) -> FloatArray:
        """Return both metrics of every resample: weights ``(B, P)``, result ``(B, 2)``."""
        return np.array([self.both(row) for row in weights]).reshape(len(weights), 2)


def rank_rows(labels: NDArray[np.bool_], scores: FloatArray, patient: NDArray[np.int64]) -> RankedRows:
    """Sort rows of both classes once.

    Args:
        labels: ``(n,)`` booleans.
        scores: ``(n,)`` finite.
        patient: ``(n,)`` patient codes from 0.

    Example:
        >>> rows = rank_rows(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8]), np.arange(4))
        >>> area, precision = rows.both(np.ones(4, np.int32))
        >>> area, round(precision, 4)
        (0.75, 0.8333)
    """
    order = np.argsort(-scores, kind="stable")
    descending, truth = scores[order], labels[order]
    code = patient[order].astype(np.int32)
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
        before=starts.astype(np.int32),
        called=ends.astype(np.int32),
        hits=found[ends].astype(np.int32),
    )


def _running(counts: IntArray) -> IntArray:
    """Return the running sum with a leading 0."""
    sums = np.empty(len(counts) + 1, np.int32)
    sums[0] = 0
    np.cumsum(counts, out=sums[1:], dtype=np.int32)
    return sums

"""ROC and precision-recall curves with pointwise patient-bootstrap bands, from the counts that the metrics use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.statistics.bootstrap import Clusters, bootstrap, percentile_band
from medvlp.statistics.metrics import FloatArray, check_both_classes, checked_labels, checked_scores
from medvlp.statistics.ranked import RankedRows, rank_rows

_GRID = np.linspace(0, 1, 101)
# Vertices are ratios of counts: one that is meant to lie on the grid may miss it by rounding.
_SLACK = 1e-12


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve and its band.

    Attributes:
        x, y: ``(V,)`` vertices of the curve itself.
        grid: ``(T,)`` places of the band.
        low, high: ``(T,)`` pointwise limits over resamples of patients; NaN where so few make no interval.
    """

    x: FloatArray
    y: FloatArray
    grid: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class RankCurves:
    """Both curves of one ranking.

    Attributes:
        roc: sensitivity against 1 - specificity; ties are a slanted line, so the area under it is the AUROC.
        precision_recall: precision against recall, as the steps whose area is the average precision.
    """

    roc: Curve
    precision_recall: Curve


def rank_curves(
    labels: ArrayLike, scores: ArrayLike, clusters: Clusters, *, resamples: int, seed: int, level: float = 0.95
) -> RankCurves:
    """Return both curves, their bands from the same resamples: making these takes longer than either curve.

    Args:
        labels: ``(n,)`` of 0 and 1.
        scores: ``(n,)`` finite.
        clusters: the patients of these rows.
        resamples: bootstrap resamples for the bands.
        level: of these, at each place.

    Raises:
        UndefinedMetricError: if a class is missing.

    Example:
        >>> from medvlp.statistics.bootstrap import patient_clusters
        >>> curves = rank_curves([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], patient_clusters(range(4)), resamples=10, seed=0)
        >>> float(np.trapezoid(curves.roc.y, curves.roc.x))
        0.75
        >>> curves.precision_recall.x.tolist(), curves.precision_recall.y.round(2).tolist()
        ([0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 0.67, 0.67])
    """
    truth: NDArray[np.bool_] = checked_labels(labels)
    values = checked_scores(scores, rows=len(truth))
    check_both_classes(truth, "A curve is not defined")
    ranked = rank_rows(truth, values, clusters.patient)

    def statistic(weights: FloatArray) -> FloatArray:
        return np.stack([np.append(_interpolated(each), _stepped(each)) for each in _counts(ranked, weights)])

    (whole,) = _counts(ranked, np.ones((clusters.patients, 1)))
    drawn = bootstrap(statistic, clusters, resamples=resamples, seed=seed, height=len(truth))
    roc, steps = np.split(drawn, 2, axis=1)
    return RankCurves(
        Curve(*_roc_vertices(whole), _GRID, *percentile_band(roc, level=level)),
        Curve(*_precision_vertices(whole), _GRID, *percentile_band(steps, level=level)),
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    """True and false positives ``(G,)`` up to each score of a positive, false ones before it, and all negatives."""

    true: NDArray[np.integer]
    false: NDArray[np.integer]
    before: NDArray[np.integer]
    negatives: int


def _counts(ranked: RankedRows, weights: FloatArray) -> list[_Counts]:
    """Return the counts of each resample."""
    rows = ranked.levels(np.ascontiguousarray(weights.T, dtype=np.int32))
    false = rows.called - rows.hit
    each = zip(rows.hit, false, rows.false - false, rows.negatives.tolist(), strict=True)
    return [_Counts(*counts) for counts in each]


def _roc_vertices(counts: _Counts) -> tuple[FloatArray, FloatArray]:
    x = np.stack([counts.before, counts.false], axis=1).ravel() / counts.negatives
    y = np.stack([np.append(0, counts.true[:-1]), counts.true], axis=1).ravel() / counts.true[-1]
    return np.concatenate([[0.0], x, [1.0]]), np.concatenate([[0.0], y, [1.0]])


def _precision_vertices(counts: _Counts) -> tuple[FloatArray, FloatArray]:
    recall = counts.true / counts.true[-1]
    precision = counts.true / np.maximum(counts.true + counts.false, 1)
    x = np.stack([np.append(0, recall[:-1]), recall], axis=1).ravel()
    return x, np.repeat(precision, 2)


def _interpolated(counts: _Counts) -> FloatArray:
    if not counts.true[-1] or not counts.negatives:
        return np.full(len(_GRID), np.nan)
    x, y = _roc_vertices(counts)
    # The last vertex at or before each place: of a vertical stretch its upper end, reached at this specificity.
    start = np.searchsorted(x, _GRID + _SLACK, side="right") - 1
    stop = np.minimum(start + 1, len(x) - 1)
    width = x[stop] - x[start]
    share = np.where(width > 0, np.clip(_GRID - x[start], 0, None) / np.where(width > 0, width, 1), 0)
    return y[start] + share * (y[stop] - y[start])


def _stepped(counts: _Counts) -> FloatArray:
    if not counts.true[-1]:
        return np.full(len(_GRID), np.nan)
    drawn = np.diff(counts.true, prepend=0) > 0  # a level without a resampled positive is no step
    true, false = counts.true[drawn], counts.false[drawn]
    at = np.minimum(np.searchsorted(true / true[-1], _GRID - _SLACK), len(true) - 1)
    return (true / (true + false))[at]

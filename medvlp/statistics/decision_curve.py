"""Decision curves: is calling by the model worth more than calling everybody, or nobody?

Net benefit at threshold probability t is ``TP / n - FP / n * t / (1 - t)`` (Vickers and Elkin, Medical Decision Making
2006): a reader who acts at t says by it that a missed finding costs (1 - t) / t false alarms. Calling everybody gives
``prevalence - (1 - prevalence) t / (1 - t)``, nobody 0. Probabilities must be calibrated, or the curve is of another
threshold than it says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medvlp.core.errors import DataError
from medvlp.statistics.bootstrap import Clusters, bootstrap, percentile_band
from medvlp.statistics.confusion import Confusion, call_counts
from medvlp.statistics.metrics import FloatArray, checked_labels
from medvlp.statistics.probability_metrics import checked_probabilities


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit over threshold probabilities; every array is ``(T,)``.

    Attributes:
        threshold: probabilities at which one acts.
        model: net benefit of calling by the model.
        low, high: its pointwise band over resamples of patients; NaN where so few make no interval.
        everybody: net benefit of calling everybody; calling nobody has 0.
    """

    threshold: FloatArray
    model: FloatArray
    low: FloatArray
    high: FloatArray
    everybody: FloatArray


def net_benefit(tables: Confusion, threshold: FloatArray) -> FloatArray:
    """Return the net benefit of tables ``(T, ...)`` at thresholds ``(T,)``; NaN where a table is empty.

    Example:
        >>> table = Confusion(*(np.array([count]) for count in (8.0, 1.0, 2.0, 9.0)))
        >>> round(float(net_benefit(table, np.array([0.5]))[0]), 3)
        0.35
    """
    odds = (threshold / (1 - threshold)).reshape(-1, *([1] * (tables.tp.ndim - 1)))
    n = tables.tp + tables.fp + tables.fn + tables.tn
    return np.where(n > 0, (tables.tp - tables.fp * odds) / np.where(n > 0, n, 1.0), np.nan)


def decision_curve(
    labels: ArrayLike,
    probabilities: ArrayLike,
    clusters: Clusters,
    *,
    thresholds: ArrayLike | None = None,
    resamples: int,
    seed: int,
    level: float = 0.95,
) -> DecisionCurve:
    """Return the decision curve of calibrated probabilities.

    Args:
        labels: ``(n,)`` of 0 and 1.
        probabilities: ``(n,)`` in [0, 1].
        clusters: the patients of these rows.
        thresholds: ``(T,)`` above 0 and below 1; 0.01 to 0.99 by default.
        resamples: bootstrap resamples for the band.
        level: of it, at each place.

    Raises:
        DataError: if a probability or a threshold is out of range, or there are no rows.

    Example:
        >>> from medvlp.statistics.bootstrap import patient_clusters
        >>> curve = decision_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], patient_clusters(range(4)), thresholds=[0.2],
        ...                        resamples=10, seed=0)
        >>> curve.model.round(4).tolist(), curve.everybody.round(4).tolist()
        ([0.4375], [0.375])
    """
    truth = checked_labels(labels)
    values = checked_probabilities(probabilities, rows=len(truth))
    places = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if places.ndim != 1 or not ((places > 0) & (places < 1)).all():
        raise DataError("A decision curve's thresholds are probabilities above 0 and below 1: leave others out.")
    if not len(truth):
        raise DataError("A decision curve needs rows: there are none.")
    counts = call_counts(truth, values, places, clusters.patient, clusters.patients)

    def statistic(weights: FloatArray) -> FloatArray:
        return net_benefit(counts.tables(weights), places).T

    draws = bootstrap(statistic, clusters, resamples=resamples, seed=seed, height=2 * len(places))
    prevalence = float(truth.mean())
    everybody = prevalence - (1 - prevalence) * places / (1 - places)
    low, high = percentile_band(draws, level=level)
    return DecisionCurve(places, statistic(np.ones((clusters.patients, 1)))[0], low, high, everybody)

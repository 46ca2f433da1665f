"""How much each patient moves a metric of the ranking: first derivatives in the patients' weights.

They give a variance without any resample (the infinitesimal jackknife, Jaeckel 1972; for the AUROC it is the clustered
variance of Obuchowski 1997 up to the factors I / (I - 1)) and the acceleration of BCa intervals (Efron 1987).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medvlp.statistics.bootstrap import Clusters
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.table import Moves, rank_metrics


def influence_rows(labels: NDArray[np.bool_], scores: FloatArray) -> FloatArray:
    """Return d metric / d weight of each row at equal weights, a column a metric of `rank_metrics`, ``(n, K)``.

    Args:
        labels: ``(n,)`` booleans of both classes.
        scores: ``(n,)`` finite.

    Example:
        >>> influence_rows(np.array([False, True, True]), np.array([0.5, 0.4, 0.8])).round(3).tolist()
        [[0.0, -0.111], [-0.25, -0.028], [0.25, 0.139]]
    """
    levels, place = np.unique(-scores, return_inverse=True)  # highest score first
    positive, negative = (np.bincount(place, weights=rows, minlength=len(levels)) for rows in (labels, ~labels))
    rows = Moves(labels, place, positive.astype(np.float64), negative.astype(np.float64))
    return np.stack([each.influence(rows) for each in rank_metrics().values()], axis=1)


def by_patient(rows: FloatArray, patient: NDArray[np.int64], patients: int) -> FloatArray:
    """Return the sums over the rows of each patient: ``(n, K)`` to ``(P, K)``."""
    sums = [np.bincount(patient, weights=column, minlength=patients).astype(np.float64) for column in rows.T]
    return np.stack(sums, axis=1)


def centred(influence: FloatArray, clusters: Clusters) -> FloatArray:
    """Return influences ``(P, ...)`` less their stratum's mean: a stratified resample keeps the strata's sizes."""
    size = np.bincount(clusters.stratum)
    out = influence.copy()
    for stratum in np.flatnonzero(size):
        inside = clusters.stratum == stratum
        out[inside] -= influence[inside].mean(axis=0)
    return out


def acceleration(influence: FloatArray, clusters: Clusters) -> float:
    """Return the BCa acceleration ``sum U^3 / (6 (sum U^2)^1.5)`` of influences ``(P,)``, centred in their strata.

    Example:
        >>> from medvlp.statistics.bootstrap import patient_clusters
        >>> round(acceleration(np.array([-1.0, -1.0, 2.0]), patient_clusters(range(3))), 4)
        0.068
    """
    moved = centred(influence, clusters)
    spread = float((moved**2).sum())
    return float((moved**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0

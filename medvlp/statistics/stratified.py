"""AUROC within strata: only rows of one stratum are compared, so what the strata give away counts for nothing.

The concordant pairs of all strata over all their pairs, ties by half: each stratum weighs by its positive x negative
pairs, as in a Mantel-Haenszel estimate.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.statistics.metrics import FloatArray, checked_labels, checked_scores


@dataclass(frozen=True, slots=True)
class _Stratum:
    """Rows of both classes, lowest score first; `start` and `end` bound the rows that tie with each positive one."""

    patient: NDArray[np.int64]
    positive: NDArray[np.bool_]
    start: NDArray[np.int64]
    end: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StratifiedRanks:
    """Rows sorted once, for any number of resamples.

    Attributes:
        strata: those that have both classes.
        left_out: strata that have one class only.
        used: ``(n,)`` whether a row is in one that has both.
        pairs: positive x negative pairs within strata.
    """

    strata: tuple[_Stratum, ...]
    left_out: int
    used: NDArray[np.bool_]
    pairs: int

    def auroc(self, weights: FloatArray) -> FloatArray:
        """Return the number under patient weights ``(P, B)``, shape ``(B,)``; NaN where no pair has a weight."""
        hits, pairs = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
        for stratum in self.strata:
            weight = weights[stratum.patient]
            positive = weight[stratum.positive]
            below = np.zeros((len(weight) + 1, weights.shape[1]))
            np.cumsum(np.where(stratum.positive[:, None], 0.0, weight), axis=0, out=below[1:])
            hits += (positive * (below[stratum.start] + below[stratum.end])).sum(axis=0) / 2
            pairs += positive.sum(axis=0) * below[-1]
        return hits / np.where(pairs > 0, pairs, np.nan)


def stratify(
    labels: ArrayLike, scores: ArrayLike, strata: Sequence[Hashable], patient: NDArray[np.int64]
) -> StratifiedRanks:
    """Sort the rows of every stratum once.

    Args:
        labels: ``(n,)`` of 0 and 1.
        scores: ``(n,)`` finite.
        strata: ``(n,)`` names.
        patient: ``(n,)`` patient codes from 0.

    Raises:
        DataError: if lengths disagree, a label is not 0 or 1, or a score is NaN or infinite.

    Example:
        >>> ranks = stratify([1, 0, 1, 0, 1], [0.2, 0.1, 0.9, 0.9, 0.5], ["a", "a", "b", "b", "c"], np.arange(5))
        >>> ranks.auroc(np.ones((5, 1))).tolist(), ranks.pairs, ranks.left_out
        ([0.75], 2, 1)
    """
    truth = checked_labels(labels).astype(bool)
    values = checked_scores(scores, rows=len(truth))
    members: dict[Hashable, list[int]] = {}
    for row, name in enumerate(strata):
        members.setdefault(name, []).append(row)
    found, used, pairs = [], np.zeros(len(truth), bool), 0
    for rows in members.values():
        at = np.array(rows)[np.argsort(values[rows], kind="stable")]
        positive, ordered = truth[at], values[at]
        if positive.all() or not positive.any():
            continue
        used[at] = True
        pairs += int(positive.sum()) * int((~positive).sum())
        start, end = (np.searchsorted(ordered, ordered[positive], side=side) for side in ("left", "right"))
        found.append(_Stratum(patient[at], positive, start, end))
    return StratifiedRanks(tuple(found), len(members) - len(found), used, pairs)

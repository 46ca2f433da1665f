"""Ranks of the candidates of a query, where several are relevant and scores may tie.

A query is answered when *any* candidate of its group is found. Candidates with equal scores are taken in random order
and the expectation over that order is computed exactly, so that a model that gives one score to everything gets the
result of a random ranking and not a perfect one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.core.errors import DataError
from medvlp.statistics.metrics import FloatArray

_BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where the best relevant candidate of each query stands; every array is ``(Q,)``.

    Attributes:
        above: irrelevant candidates with a higher score.
        tied: irrelevant candidates with the same score.
        tied_relevant: relevant candidates with that score, 1 or more.
        relevant: relevant candidates in the pool.
        pool: number of candidates.
    """

    above: NDArray[np.int64]
    tied: NDArray[np.int64]
    tied_relevant: NDArray[np.int64]
    relevant: NDArray[np.int64]
    pool: int

    def expected_rank(self) -> FloatArray:
        """Return the expected rank (from 1) of the first relevant one, ``1 + above + tied / (tied_relevant + 1)``."""
        return 1.0 + self.above + self.tied / (self.tied_relevant + 1.0)

    def recall(self, k: int) -> FloatArray:
        """Return the chance that a relevant candidate is among the first k, exact over the order of ties."""
        return _chance_of_a_hit(self.tied_relevant, self.tied, k - self.above)


def rank_queries(similarity: ArrayLike, query_group: ArrayLike, candidate_group: ArrayLike) -> Ranks:
    """Return the ranks of the queries of a similarity matrix.

    Args:
        similarity: ``(Q, C)``, higher is nearer.
        query_group: ``(Q,)`` relevance group of each query, integers.
        candidate_group: ``(C,)`` relevance group of each candidate.

    Raises:
        DataError: if shapes disagree, a similarity is NaN, or a query has no relevant candidate.

    Example:
        >>> ranks = rank_queries([[0.9, 0.5, 0.5]], [1], [0, 1, 2])
        >>> ranks.expected_rank().tolist(), ranks.recall(2).tolist()
        ([2.5], [0.5])
    """
    scores, query, candidate = np.asarray(similarity), np.asarray(query_group), np.asarray(candidate_group)
    if scores.shape != (len(query), len(candidate)):
        raise DataError(
            f"The similarity has shape {scores.shape}, the groups ask for ({len(query)}, {len(candidate)}): "
            f"give one row a query and one column a candidate."
        )
    blocks = [slice(start, start + _BLOCK_ROWS) for start in range(0, len(query), _BLOCK_ROWS)]
    if any(np.isnan(scores[rows]).any() for rows in blocks):
        raise DataError("The similarity holds NaN: mend the model, a rank cannot be made of it.")
    order = np.argsort(candidate, kind="stable")
    in_order = candidate[order]
    first, last = np.searchsorted(in_order, query), np.searchsorted(in_order, query, side="right")
    relevant = last - first
    if (relevant == 0).any():
        raise DataError(f"No candidate is relevant to {(relevant == 0).sum()} of {len(query)} queries: leave them out.")
    above, tied, tied_relevant = np.zeros((3, len(query)), dtype=np.int64)
    for rows in blocks:  # half of all candidates may be relevant to each query: pairs are listed for some queries
        above[rows], tied[rows], tied_relevant[rows] = _counted(scores[rows], order, first[rows], relevant[rows])
    return Ranks(above, tied, tied_relevant, relevant, len(candidate))


def _counted(
    scores: NDArray[np.floating], order: NDArray[np.int64], first: NDArray[np.int64], relevant: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return how many others stand above and on the best relevant candidate of each query, and relevant ones on it."""
    # One flat list of (query, relevant candidate) pairs: the loop over queries, without the loop.
    start = np.cumsum(relevant) - relevant
    within = np.arange(relevant.sum()) - np.repeat(start, relevant)
    pairs = scores[np.repeat(np.arange(len(scores)), relevant), order[np.repeat(first, relevant) + within]]
    best = np.maximum.reduceat(pairs, start)
    tied_relevant = np.add.reduceat((pairs == np.repeat(best, relevant)).astype(np.int64), start)
    higher = np.count_nonzero(scores > best[:, None], axis=1)
    equal = np.count_nonzero(scores == best[:, None], axis=1)
    return higher, equal - tied_relevant, tied_relevant


def rank_embeddings(query: NDArray[np.floating], candidate: NDArray[np.floating], group: NDArray[np.int64]) -> Ranks:
    """Return the ranks of the queries (Q, D) among candidates (C, D), both at unit length and in the same groups.

    A block of queries is ranked at a time; equal embeddings get equal scores.

    A matrix product may round two equal columns differently by their place, which would break a tie by position; so
    each distinct candidate is multiplied once and its score copied.
    """
    distinct, back = np.unique(candidate, axis=0, return_inverse=True)
    parts = []
    for start in range(0, len(query), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        parts.append(rank_queries(np.take(query[rows] @ distinct.T, back.ravel(), axis=1), group[rows], group))
    return Ranks(
        np.concatenate([part.above for part in parts]),
        np.concatenate([part.tied for part in parts]),
        np.concatenate([part.tied_relevant for part in parts]),
        np.concatenate([part.relevant for part in parts]),
        len(candidate),
    )


def random_recall(relevant: ArrayLike, pool: ArrayLike, k: int) -> FloatArray:
    """Return the recall at k of a random ranking: ``1 - C(pool - relevant, k) / C(pool, k)`` (hypergeometric).

    Args:
        relevant: ``(Q,)`` relevant candidates of each query.
        pool: candidates, of all queries or ``(Q,)`` of each.
        k: length of the list that is looked at.

    Example:
        >>> random_recall([1, 2], pool=10, k=5).round(4).tolist()
        [0.5, 0.7778]
    """
    count = np.asarray(relevant, dtype=np.int64)
    return _chance_of_a_hit(count, np.asarray(pool) - count, np.full_like(count, k))


def label_groups(labels: ArrayLike, studies: int) -> NDArray[np.int64]:
    """Return (S,) numbers of the groups of studies with equal labels (S, L); NaN equals NaN.

    Raises:
        DataError: if there is not one row a study.

    Example:
        >>> label_groups([[1, float("nan")], [1, 0], [1, float("nan")]], 3).tolist()
        [1, 0, 1]
    """
    table = np.asarray(labels, dtype=np.float64)
    if table.ndim != 2 or len(table) != studies:
        raise DataError(f"The labels have shape {table.shape} for {studies} studies: give one row a study.")
    return np.unique(np.where(np.isnan(table), 9.0, table), axis=0, return_inverse=True)[1].reshape(-1)


def weighted_medians(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the medians of ``(n,)`` values under the columns of ``(n, B)`` weights, ``(B,)``; halves are averaged.

    Example:
        >>> weighted_medians(np.array([1.0, 5.0, 2.0]), np.array([[1.0, 1], [1, 0], [1, 1]])).tolist()
        [2.0, 1.5]
    """
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order], axis=0)
    half = cumulative[-1] / 2
    lower = values[order][np.argmax(cumulative >= half, axis=0)]
    upper = values[order][np.argmax(cumulative > half, axis=0)]
    return (lower + upper) / 2


def _chance_of_a_hit(relevant: NDArray[np.int64], other: NDArray[np.int64], drawn: NDArray[np.int64]) -> FloatArray:
    """Return the chance of a relevant item among `drawn` of `relevant + other`, drawn without replacement.

    ``1 - C(other, drawn) / C(relevant + other, drawn)`` as a product over the draws, which cannot overflow.
    """
    missed = np.ones(len(relevant))
    for already in range(int(drawn.max(initial=0))):
        left = np.maximum(relevant + other - already, 1)
        missed *= np.where(already < drawn, np.clip(other - already, 0, None) / left, 1.0)
    return 1.0 - missed

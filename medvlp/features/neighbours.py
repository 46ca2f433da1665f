"""Exact nearest neighbours: blocks of rows, so that memory does not grow with the table, and the best of each kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medvlp.core.errors import DataError

__all__ = ["Neighbours", "alike", "nearest"]

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Neighbours:
    """Numbers (n,) of the rows nearest to one vector and their dot products with it; of equal ones the earlier row
    first.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def nearest(
    query: np.ndarray,
    table: np.ndarray,
    k: int,
    *,
    keep: np.ndarray | None = None,
    group: np.ndarray | None = None,
    block: int = _BLOCK,
) -> Neighbours:
    """Return the k rows with the largest dot product with a vector, one a group.

    Args:
        query: (D,).
        table: (R, D); rows that hold NaN are nobody's neighbour.
        k: at least 1; fewer are returned where there are not so many.
        keep: (R,) bool, rows that may be found; all by default.
        group: (R,) integers: of rows with one number only the nearest is found; every row is its own by default.
        block: rows looked at together.

    Raises:
        DataError: if the vector is not as long as the rows, or k is below 1.

    Example:
        >>> found = nearest(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0], [1.0, 0.0]]), 2)
        >>> found.rows.tolist(), found.scores.tolist()
        ([2, 3], [1.0, 1.0])
    """
    if table.ndim != 2 or query.shape != table.shape[1:] or k < 1:
        raise DataError(
            f"A vector of {query.shape} has no {k} neighbours in a table of {table.shape}: give one as long."
        )
    rows, scores = np.zeros(0, np.int64), np.zeros(0, np.float64)
    for start in range(0, len(table), block):
        part = table[start : start + block].astype(np.float64)
        near = part @ query.astype(np.float64)
        usable = np.isfinite(near) if keep is None else np.isfinite(near) & keep[start : start + block]
        own = np.flatnonzero(usable)
        rows, scores = np.concatenate([rows, own + start]), np.concatenate([scores, near[own]])
        order = np.lexsort((rows, -scores))
        if group is not None:  # the first of each group in that order
            order = order[np.sort(np.unique(group[rows[order]], return_index=True)[1])]
        rows, scores = rows[order[:k]], scores[order[:k]]
    return Neighbours(rows, scores)


def alike(names: np.ndarray, table: np.ndarray, *, decimals: int = 5) -> NDArray[np.int64]:
    """Return (R,) numbers of groups: rows of one name, and rows whose vectors are the same to some decimals.

    An empty name names nothing; rows of `table` (R, D) that hold NaN are like none.

    Example:
        >>> alike(np.array(["s", "s", "t", ""]), np.array([[1.0], [2.0], [2.0], [3.0]])).tolist()
        [0, 0, 0, 1]
    """
    links: list[tuple[int, int]] = []
    first: dict[object, int] = {}
    for row, (name, vector) in enumerate(zip(names.tolist(), np.round(table, decimals) + 0.0, strict=True)):
        keys = [("name", name)] if name else []
        keys += [("vector", vector.tobytes())] if np.isfinite(vector).all() else []
        links += [(row, first.setdefault(key, row)) for key in keys]
    ends = np.array(links, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(table), len(table)))
    return connected_components(graph, directed=False)[1].astype(np.int64)

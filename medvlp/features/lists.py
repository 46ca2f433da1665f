"""Lists of rows around centroids (IVF): for a large table faiss proposes rows, which are then scored exactly.

Stored are the centroids and the list of each row as plain numbers, never faiss's own file, which C++ code reads that
trusts it; a folder may come from anybody. faiss is filled from the numbers, which takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medvlp.core.errors import DataError
from medvlp.core.randomness import numpy_generator
from medvlp.features.kmeans import kmeans
from medvlp.features.nearest import nearest

EXACT = 2**18
"""Rows up to which a table is searched exactly: a query takes a tenth of a second there."""

Propose = Callable[[np.ndarray, int], NDArray[np.int64]]
_SAMPLED, _NEAR, _ENOUGH, _PER_LIST = 256, 10, 0.99, 64


@dataclass(frozen=True, eq=False)
class Lists:
    """L lists of the rows of a table.

    Attributes:
        centroids: (L, D) float32 at unit length.
        place: (R,) int64, the list of each row; -1 for rows that are not finite.
        probes: lists that are looked at for a query, those of its nearest centroids.
        recall: kind of queries -> share of the ten rows nearest by exact search that were found, at these probes.
        queries: how many of each kind this was measured on.
    """

    centroids: np.ndarray
    place: NDArray[np.int64]
    probes: int
    recall: Mapping[str, float]
    queries: Mapping[str, int]

    def facts(self) -> dict[str, Any]:
        """Return what ``index.json`` says of them."""
        recall = {name: round(value, 4) for name, value in self.recall.items()}
        return {"lists": len(self.centroids), "probes": self.probes, "recall": recall, "queries": dict(self.queries)}


def make_lists(rows: np.ndarray, queries: Mapping[str, np.ndarray], *, above: int = EXACT) -> Lists | None:
    """Return lists of unit rows, or None where exact search is as good.

    Twice as many lists are looked at until at least 99 of 100 neighbours of sampled queries are found, of each kind.
    There are none for a table of at most `above` rows, without faiss, or where a quarter of all lists is not enough.

    Args:
        rows: (R, D) float32, NaN where there is none.
        queries: kind -> (Q, D) unit rows, of which 256 are tried, beside as many of the table's own.
        above: rows.
    """
    there = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if len(there) <= above or find_spec("faiss") is None:
        return None
    count = 2 ** round(math.log2(4 * math.sqrt(len(there))))
    draws, table = numpy_generator(0, 0, "lists"), torch.from_numpy(rows)
    sample = np.sort(draws.choice(there, min(len(there), _PER_LIST * count), replace=False))
    found = kmeans(table[sample], count, spherical=True, iterations=10, restarts=1, start="rows")
    centroids = found.centroids[found.counts > 0]
    place = nearest(table, centroids, 1).rows[:, 0].numpy()
    index = _filled(centroids.numpy(), place, rows)
    asked = {"its own": (rows, np.arange(len(rows)))} | {name: (q, np.full(len(q), -1)) for name, q in queries.items()}
    tried: dict[str, _Tried] = {}
    for name, (each, own) in asked.items():
        usable = np.flatnonzero(np.isfinite(each).all(axis=1))
        if len(usable) and each.shape[1] == rows.shape[1]:
            usable = draws.choice(usable, min(len(usable), _SAMPLED), replace=False)
            near = nearest(torch.from_numpy(each[usable]), table, _NEAR + 1).rows.numpy()
            tried[name] = _Tried(each[usable], own[usable], near)
    sizes, probes = {name: len(each.own) for name, each in tried.items()}, 1
    while probes <= len(centroids) // 4:
        recall = {name: each.recall(partial(_propose, index, probes)) for name, each in tried.items()}
        if min(recall.values()) >= _ENOUGH:
            return Lists(centroids.numpy(), place, probes, recall, sizes)
        probes *= 2
    return None


def proposing(lists: Lists, rows: np.ndarray) -> Propose:
    """Return what gives n rows at most, those nearest to a query (D,) in its lists.

    Args:
        lists: of the rows.
        rows: (R, D), of which faiss holds a copy.
    """
    return partial(_propose, _filled(lists.centroids, lists.place, rows), lists.probes)


def _filled(centroids: np.ndarray, place: np.ndarray, rows: np.ndarray) -> Any:  # noqa: ANN401
    faiss = _faiss()
    quantizer = faiss.IndexFlatIP(rows.shape[1])
    quantizer.add(np.ascontiguousarray(centroids))
    index = faiss.IndexIVFFlat(quantizer, rows.shape[1], len(centroids), faiss.METRIC_INNER_PRODUCT)
    arrays = np.ascontiguousarray(rows, np.float32), np.arange(len(rows)), np.ascontiguousarray(place)
    index.add_core(len(rows), *map(faiss.swig_ptr, arrays))
    return index


def _propose(index: Any, probes: int, query: np.ndarray, count: int) -> NDArray[np.int64]:  # noqa: ANN401
    found = index.search(query[None], count, params=_faiss().SearchParametersIVF(nprobe=probes))[1][0]
    return found[found >= 0]


def _faiss() -> Any:  # noqa: ANN401
    return import_module("faiss")  # its own stubs name other arguments than it takes


@dataclass(frozen=True, eq=False)
class _Tried:
    """Queries (Q, D), the row that each is itself (Q,) or -1, and the eleven rows (Q, 11) nearest by exact search."""

    queries: np.ndarray
    own: np.ndarray
    near: np.ndarray

    def recall(self, propose: Propose) -> float:
        """Return the share of the ten nearest that is proposed, the query itself left out."""
        shares = []
        for query, own, near in zip(self.queries, self.own, self.near, strict=True):
            wanted = set(near[near != own][:_NEAR].tolist())
            shares.append(len(wanted & set(propose(query, _NEAR + 1).tolist())) / len(wanted))
        return float(np.mean(shares))


def check_lists(lists: Lists, shape: tuple[int, int]) -> None:
    """Refuse lists that are not those of a table of a shape, before faiss sees them.

    Raises:
        DataError: if they are not.
    """
    count, (rows, width) = len(lists.centroids), shape
    fits = lists.centroids.shape == (count, width) and lists.centroids.dtype == np.float32 and 0 < lists.probes <= count
    fits = fits and lists.place.shape == (rows,) and lists.place.dtype == np.int64
    if not fits or not np.isfinite(lists.centroids).all() or lists.place.min() < -1 or lists.place.max() >= count:
        raise DataError(f"Its lists do not fit its {rows} rows of {width} numbers")

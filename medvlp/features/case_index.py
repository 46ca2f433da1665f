"""A folder of cases that can be searched: features, findings, reports without identifiers, and whose features they are.

``index.json`` names the model, ``features.parquet`` is a `FeatureTable`. Neither ids nor paths of the manifest are
stored, nor a word of a report that nobody says is de-identified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import make_folder, read_json, write_json
from medvlp.core.table import FeatureTable

SCHEMA = "medvlp.cases/1"
_FINDINGS, _REPORT, _STUDY = "findings", "report", "study"


@dataclass(frozen=True)
class Case:
    """One row of an index that is like what was asked.

    Attributes:
        id: ``case 00012``, its number in the order of the manifest.
        similarity: cosine.
        findings: that its labels, or its report, say are there.
        report: findings and impression; None where none was stored.
    """

    id: str
    similarity: float
    findings: tuple[str, ...]
    report: str | None


@dataclass(frozen=True)
class Found:
    """What a search gives: `cases`, nearest first, and the number of rows `folded` into them, as the same study or
    picture.
    """

    cases: tuple[Case, ...]
    folded: int


class CaseIndex:
    """A searchable index of cases, in memory.

    Args:
        table: with the columns ``VIEW/embedding`` (or ``VIEW/pooled``), ``findings``, ``report`` and ``study``, the
            last a number that tells which rows are of one study.
        meta: ``model`` (hash of the bundle), ``data``, ``synthetic``.
    """

    def __init__(self, table: FeatureTable, meta: Mapping[str, Any]) -> None:
        self.table, self.meta = table, dict(meta)
        self._findings = [frozenset(filter(None, str(each).split(", "))) for each in table.columns[_FINDINGS]]
        self._groups: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.table)

    @property
    def findings(self) -> tuple[str, ...]:
        """All that any case has."""
        return tuple(sorted(frozenset().union(*self._findings)))

    def save(self, folder: Path) -> None:
        """Write the folder."""
        make_folder(folder)
        self.table.save(folder / "features.parquet")
        write_json(folder / "index.json", {**self.meta, "schema": SCHEMA, "cases": len(self)})

    @classmethod
    def load(cls, folder: str | Path, *, model: str) -> CaseIndex:
        """Read a folder as `save` wrote it, for the model of a hash.

        Raises:
            UserError: if it is no index, or the features are another model's.
        """
        folder = Path(folder)
        try:
            meta = read_json(folder / "index.json")
        except DataError:
            meta = {}
        if meta.get("schema") != SCHEMA:
            raise UserError(f"{folder} is no index of cases: make one with medvlp embed MODEL MANIFEST --index FOLDER.")
        if meta["model"] != model:
            raise UserError(
                f"The index {folder} was made with another model (hash {meta['model']}, this one is {model}): make it "
                "again with medvlp embed MODEL MANIFEST --index FOLDER."
            )
        return cls(FeatureTable.load(folder / "features.parquet"), meta)

    def search(self, vector: np.ndarray, columns: Sequence[str], k: int, *, findings: Sequence[str] = ()) -> Found:
        """Return the cases nearest to a unit vector (D,), one a study and one of equal pictures.

        Args:
            vector: (D,).
            columns: features that it is compared with: of each row the first that is there.
            k: most cases.
            findings: that a case must have, all of them.

        Raises:
            UserError: if the index has none of the columns.
        """
        there = tuple(name for name in columns if name in self.table.columns)
        if not there:
            raise UserError(
                f"This index has no column {' or '.join(columns)}, which is asked for: make it of records that have "
                "such files."
            )
        if there not in self._groups:
            features = self._features(there)
            self._groups[there] = features, alike(np.asarray(self.table.columns[_STUDY]), features)
        features, group = self._groups[there]
        keep = np.array([set(findings) <= own for own in self._findings], dtype=bool)
        found = nearest(vector, features, k, keep=keep, group=group)
        usable = keep & np.isfinite(features).all(axis=1)
        folded = int(np.isin(group[usable], group[found.rows]).sum()) - len(found.rows)
        return Found(tuple(self._case(int(r), float(s)) for r, s in zip(found.rows, found.scores, strict=True)), folded)

    def _features(self, columns: Sequence[str]) -> np.ndarray:
        rows = np.array(self.table[columns[0]], dtype=np.float32)
        for name in columns[1:]:
            missing = ~np.isfinite(rows).all(axis=1)
            rows[missing] = self.table[name][missing]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(lengths > 0, lengths, 1)

    def _case(self, row: int, similarity: float) -> Case:
        report = str(self.table.columns[_REPORT][row])
        return Case(self.table.ids[row], round(similarity, 6), tuple(sorted(self._findings[row])), report or None)


@dataclass(frozen=True)
class Neighbours:
    """Numbers (n,) of the rows nearest to one vector and their dot products with it; of equals the earlier first."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def nearest(
    query: np.ndarray,
    table: np.ndarray,
    k: int,
    *,
    keep: np.ndarray | None = None,
    group: np.ndarray | None = None,
    block: int = 1 << 16,
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

"""A folder of cases that can be searched: features, findings, reports without identifiers, and whose features they are.

``features.parquet`` is a `FeatureTable`. ``index.json`` names the model, and how a large column is searched: by lists
in ``lists.COLUMN.safetensors``, with what that finds of what exact search would. Neither ids nor paths of the manifest
are stored, nor a word of a report that nobody says is de-identified.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import make_folder, read_json, write_json, written_whole
from medvlp.core.table import FeatureTable
from medvlp.features.lists import EXACT, Lists, Propose, check_lists, make_lists, proposing
from medvlp.features.nearest import nearest

logger = logging.getLogger(__name__)

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


@dataclass(frozen=True, eq=False)
class _Space:
    """What one search goes through: unit rows (R, D), their groups (R,), which are finite, and what proposes rows."""

    rows: np.ndarray
    group: NDArray[np.int64]
    finite: NDArray[np.bool_]
    proposals: tuple[Propose, ...]


class CaseIndex:
    """A searchable index of cases, in memory.

    Args:
        table: with the columns ``VIEW/embedding`` (or ``VIEW/pooled``), ``findings``, ``report`` and ``study``, the
            last a number that tells which rows are of one study.
        meta: ``model`` (hash of the bundle), ``data``, ``synthetic``.
        lists: feature column -> lists by which it is searched; the others are searched exactly.
    """

    def __init__(
        self, table: FeatureTable, meta: Mapping[str, Any], *, lists: Mapping[str, Lists] | None = None
    ) -> None:
        self.table, self.lists = table, dict(lists or {})
        self.meta = {**meta, "search": {name: each.facts() for name, each in self.lists.items()}}
        self._findings = [frozenset(filter(None, str(each).split(", "))) for each in table.columns[_FINDINGS]]
        self._spaces: dict[tuple[str, ...], _Space] = {}

    def __len__(self) -> int:
        return len(self.table)

    @property
    def findings(self) -> tuple[str, ...]:
        """All that any case has."""
        return tuple(sorted(frozenset().union(*self._findings)))

    def with_lists(self, queries: Mapping[str, np.ndarray], *, above: int = EXACT) -> CaseIndex:
        """Return the index with lists for its large columns, tried on its own rows and on other queries (Q, D)."""
        columns = [name for name, values in self.table.columns.items() if np.ndim(values) == 2]
        asked = {kind: _unit(rows) for kind, rows in queries.items()}
        made = {name: make_lists(self._features((name,)), asked, above=above) for name in columns}
        return CaseIndex(self.table, self.meta, lists={name: each for name, each in made.items() if each is not None})

    def how(self) -> str:
        """Return in a sentence how it is searched, for who made it."""
        if not self.lists:
            lacking = len(self) > EXACT and find_spec("faiss") is None
            return "Search is exact" + (": `pip install faiss-cpu` makes it faster." if lacking else ".")
        return " ".join(
            f"{name} is searched by lists, {each.probes} of {len(each.centroids)} at a time, which finds "
            + ", ".join(f"{each.recall[kind]:.1%} ({kind}, {each.queries[kind]} tried)" for kind in each.recall)
            + " of the ten cases that exact search finds."
            for name, each in self.lists.items()
        )

    def save(self, folder: Path) -> None:
        """Write the folder; killed on the way it is the older index, or none, never half of each."""
        make_folder(folder)
        with ExitStack() as files:
            self.table.save(files.enter_context(written_whole(folder / "features.parquet")))
            for name, each in self.lists.items():
                temporary = files.enter_context(written_whole(folder / _file(name)))
                save_file({"centroids": each.centroids, "place": each.place}, temporary)
            (folder / "index.json").unlink(missing_ok=True)  # what it tells of goes now
        write_json(folder / "index.json", {**self.meta, "schema": SCHEMA, "cases": len(self)})

    @classmethod
    def load(cls, folder: str | Path, *, model: str) -> CaseIndex:
        """Read a folder as `save` wrote it, for the model of a hash; without faiss its search is exact.

        Raises:
            UserError: if it is no index, or the features are another model's, or its lists are not its own.
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
        table, lists = FeatureTable.load(folder / "features.parquet"), {}
        search: Any = meta.get("search", {})
        if search and find_spec("faiss") is None:
            logger.info("The index %s is searched exactly: `pip install faiss-cpu` makes it faster.", folder.name)
        elif search:
            try:
                for name, facts in search.items():
                    stored = load_file(folder / _file(name))
                    numbers = int(facts["probes"]), dict(facts["recall"]), dict(facts["queries"])
                    lists[name] = Lists(stored["centroids"], stored["place"], *numbers)
                    check_lists(lists[name], table[name].shape)
            except (DataError, SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"The index {folder} cannot be searched ({error}): make it again with medvlp embed MODEL MANIFEST "
                    "--index FOLDER."
                ) from error
        return cls(table, meta, lists=lists)

    def search(self, vector: np.ndarray, columns: Sequence[str], k: int, *, findings: Sequence[str] = ()) -> Found:
        """Return the cases nearest to a unit vector (D,), one a study and one of equal pictures.

        Lists only propose cases: these are scored and folded as by exact search, which goes on where they propose fewer
        than were asked for. With `findings` all cases are searched: the nearest that have them lie in further lists.

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
        if there not in self._spaces:
            self._spaces[there] = self._space(there)
        space = self._spaces[there]
        usable = space.finite.copy()
        for name in findings:
            usable &= np.fromiter((name in own for own in self._findings), bool, len(self))
        rows, scores = _first_of_each(np.asarray(vector), space, usable, k)
        folded = int(np.isin(space.group[usable], space.group[rows]).sum()) - len(rows)
        return Found(tuple(self._case(int(r), float(s)) for r, s in zip(rows, scores, strict=True)), folded)

    def _space(self, columns: tuple[str, ...]) -> _Space:
        rows = self._features(columns)
        group = alike(np.asarray(self.table.columns[_STUDY]), rows)
        finite = np.asarray(np.isfinite(rows).all(axis=1))
        if not set(columns) <= set(self.lists):
            return _Space(rows, group, finite, ())
        return _Space(
            rows, group, finite, tuple(proposing(self.lists[name], self._features((name,))) for name in columns)
        )

    def _features(self, columns: tuple[str, ...]) -> np.ndarray:
        rows = np.array(self.table[columns[0]], dtype=np.float32)
        for name in columns[1:]:
            missing = ~np.isfinite(rows).all(axis=1)
            rows[missing] = self.table[name][missing]
        return _unit(rows)

    def _case(self, row: int, similarity: float) -> Case:
        report = str(self.table.columns[_REPORT][row])
        return Case(self.table.ids[row], round(similarity, 6), tuple(sorted(self._findings[row])), report or None)


def _first_of_each(
    vector: np.ndarray, space: _Space, usable: NDArray[np.bool_], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the k usable rows with the largest products, the first of each group, and these; of equals the earlier."""
    query, table = vector.astype(np.float32), torch.from_numpy(space.rows)

    def exact(count: int) -> NDArray[np.int64]:
        found = nearest(torch.from_numpy(query)[None], table, count, usable=torch.from_numpy(usable)).rows[0].numpy()
        return found[found >= 0]

    def by_lists(count: int) -> NDArray[np.int64]:
        found = np.unique(np.concatenate([propose(query, count) for propose in space.proposals]))
        return found[usable[found]]

    rows, scores = np.zeros(0, np.int64), np.zeros(0)
    for propose in (by_lists, exact) if space.proposals and (usable == space.finite).all() else (exact,):
        count, seen = 4 * k + 16, True
        while seen and len(rows) < k:
            found = propose(count)
            products = space.rows[found].astype(np.float64) @ vector.astype(np.float64)
            order = np.lexsort((found, -products))
            order = order[np.sort(np.unique(space.group[found[order]], return_index=True)[1])][:k]
            rows, scores = found[order], products[order]
            count, seen = 4 * count, len(found) >= count
    return rows, scores


def alike(names: np.ndarray, table: np.ndarray, *, decimals: int = 5) -> NDArray[np.int64]:
    """Return (R,) numbers of groups: rows of one name, and rows whose vectors are the same to some decimals.

    An empty name names nothing; rows of `table` (R, D) that hold NaN are like none.

    Example:
        >>> alike(np.array(["s", "s", "t", ""]), np.array([[1.0], [2.0], [2.0], [3.0]])).tolist()
        [0, 0, 0, 1]
    """
    links: list[tuple[int, int]] = []
    first: dict[object, int] = {}
    for row, (name, vector) in enumerate(zip(names.tolist(), table, strict=True)):
        keys = [("name", name)] if name else []
        same = blake2b(np.round(vector, decimals) + 0.0, digest_size=16)  # a million vectors are gigabytes
        keys += [("vector", same.digest())] if np.isfinite(vector).all() else []
        links += [(row, first.setdefault(key, row)) for key in keys]
    ends = np.array(links, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(table), len(table)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _file(column: str) -> str:
    return f"lists.{column.replace('/', '.')}.safetensors"

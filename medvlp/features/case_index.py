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

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import make_folder, read_json, write_json
from medvlp.core.table import FeatureTable
from medvlp.features.neighbours import alike, nearest

__all__ = ["Case", "CaseIndex", "Found"]

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
    """What a search gives: `cases`, nearest first, and the number of rows `folded` into one of the same study or
    picture.
    """

    cases: tuple[Case, ...]
    folded: int


class CaseIndex:
    """Cases in memory.

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

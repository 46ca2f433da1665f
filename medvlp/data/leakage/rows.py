"""Rows of one or several manifests, each with the side of the split on which it stands, and what two sides share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from medvlp.core.errors import DataError
from medvlp.data.leakage.leak import Leak
from medvlp.data.manifest import Manifest

# Layouts of anybody's tables and folders: two of them may well be two parts of one cohort.
_GENERAL = ("", "csv", "image_folder", "coco_captions", "hospital", "webdataset", "hugging_face")
# Sets made of another's images, whose patients and studies have that one's numbers.
_NUMBERED_BY = {"ms_cxr": "mimic_cxr", "rsna_pneumonia": "nih_chestxray14", "chestx_det": "nih_chestxray14"}


def namespace_of(manifest: Manifest) -> str:
    """Return the name of the numbering of a manifest's patients and studies; those of two numberings are never equal.

    It is what ``data.namespace`` said, else the layout's name, or that of the set whose images these are: MS-CXR's
    patients are MIMIC-CXR's, RSNA Pneumonia's and ChestX-Det10's are NIH's. Layouts of anybody's tables and folders
    have no name: their numberings are taken for one, so that two parts of a cohort are compared. Synthetic people
    differ by the seed.

    Example:
        >>> m = Manifest.of({"id": ["a"], "text": ["x"]}, root=Path("."), meta={"layout": "phantom", "seed": 3})
        >>> namespace_of(m)
        'phantom/3'
    """
    given, layout = manifest.meta.get("namespace"), str(manifest.meta.get("layout", ""))
    if given is not None:
        return str(given)
    if layout == "phantom" and manifest.meta.get("seed") is not None:
        return f"{layout}/{manifest.meta['seed']}"
    return "" if layout in _GENERAL else _NUMBERED_BY.get(layout, layout)


def named_values(manifest: Manifest, name: str) -> list[tuple[str, str] | None]:
    """Return (numbering, value) of each row of a column of identifiers, None where not known.

    Of data sets that were joined each value names its own numbering, see `medvlp.data.joined`.
    """
    if name not in manifest:
        return [None] * len(manifest)
    values = [None if value is None or value != value else str(value) for value in manifest.column(name)]
    if "sets" in manifest.meta:
        parts = [None if value is None else value.partition(":") for value in values]
        return [None if part is None else (part[0], part[2]) for part in parts]
    own = namespace_of(manifest)
    return [None if value is None else (own, value) for value in values]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of one row: `path` is resolved, `row` an index into `Rows`."""

    row: int
    path: Path


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows whose sides can be compared.

    Attributes:
        manifests: where they come from, one after the other.
        splits: ``(N,)`` side of each row, None where it stands on none.
        shown: ``(N,)`` what a report calls the side: with several manifests their names come first.
        sets: ``(N,)`` number of the manifest.
        separate: whether patients and studies of different manifests are never the same, whatever their numbers.
    """

    manifests: tuple[Manifest, ...]
    ids: np.ndarray
    splits: np.ndarray
    shown: np.ndarray
    sets: np.ndarray
    separate: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def patients(self) -> list[tuple[object, object] | None]:
        """The patient of each row within its scope, None where not known."""
        return self.scoped("id.patient")

    def scoped(self, name: str) -> list[tuple[object, object] | None]:
        """Identifiers that are equal only within a numbering, or, where manifests are kept apart, within a manifest."""
        values = [value for manifest in self.manifests for value in named_values(manifest, name)]
        if not self.separate:
            return list(values)
        return [None if v is None else (int(own), v[1]) for own, v in zip(self.sets, values, strict=True)]

    def column(self, name: str) -> np.ndarray:
        """Values of a column over all manifests, None where missing."""
        parts = []
        for manifest in self.manifests:
            found = manifest.column(name).astype(object) if name in manifest else np.full(len(manifest), None)
            parts.append(np.array([None if value is None or value != value else value for value in found], object))
        return np.concatenate(parts)

    def entries(self) -> list[Entry]:
        """Every file that a row with a side names."""
        found, start = [], 0
        for manifest in self.manifests:
            fields = manifest.file_columns
            for index in range(len(manifest)):
                if self.splits[start + index] is None:
                    continue
                found += [Entry(start + index, path) for field in fields for path in manifest.paths(index, field)]
            start += len(manifest)
        return found

    def leak(self, kind: str, a: int, b: int, detail: str = "") -> Leak:
        """Return the leak of two rows, as `data check --json` lists it."""
        first, second = sorted((a, b))
        return Leak(
            kind, self.ids[first], self.ids[second], str(self.shown[first]), str(self.shown[second]), detail=detail
        )


def refuse_unsplit(manifest: Manifest) -> None:
    """Refuse a single manifest without sides."""
    if "split" not in manifest:
        raise DataError(
            "The manifest has no column 'split': make one (`medvlp data split MANIFEST --rule patient --out FILE`), "
            "name the column that is one, or give `medvlp data check` the parts as several manifests."
        )


def rows_of(manifests: Sequence[Manifest], *, names: Sequence[str] = (), separate: bool = False) -> Rows:
    """Lay manifests one after the other.

    A manifest without a ``split`` column is one side of its own, named as it is, where there are several. Two rows of
    different manifests stand on the same side if their splits have the same name: the training part of two data sets
    may be used together.

    Args:
        names: what each is called in reports, unique.
        separate: patients and studies of different manifests are never the same, whatever their numbers. Without it
            they are compared, unless the manifests are of two different public data sets.
    """
    several = len(manifests) > 1
    if not several:
        refuse_unsplit(manifests[0])
    names = list(names) or [f"set {number + 1}" for number in range(len(manifests))]
    ids, splits, shown, sets = [], [], [], []
    for number, (manifest, name) in enumerate(zip(manifests, names, strict=True)):
        count = len(manifest)
        given = manifest.column("split") if "split" in manifest else np.full(count, name, dtype=object)
        sides = [f"{name}:{side}" for side in given] if several and "split" in manifest else given
        ids.append(np.array([str(value) for value in manifest.column("id")], dtype=object))
        splits.append(given)
        shown.append(np.array(sides, dtype=object))
        sets.append(np.full(count, number))
    joined = [np.concatenate(parts) for parts in (ids, splits, shown, sets)]
    return Rows(tuple(manifests), *joined, separate=separate)


def identifier_leaks(rows: Rows) -> list[Leak]:
    """Return leaks by ``id.patient`` and ``id.study``; identifiers of two scopes are never the same."""
    leaks: list[Leak] = []
    for kind in ("patient", "study"):
        leaks += shared(kind, rows.scoped(f"id.{kind}"), range(len(rows)), rows)
    return leaks


def image_leaks(rows: Rows, entries: Sequence[Entry], hashes: Sequence[str]) -> list[Leak]:
    """Return leaks by equal files.

    Args:
        hashes: one an entry; where a file is not at hand its hash is empty, and only its path tells that it is the
            same (a table of a release without its images can be checked in this way).
    """
    things = [sha or str(entry.path) for entry, sha in zip(entries, hashes, strict=True)]
    return shared("image", things, [entry.row for entry in entries], rows)


def shared(kind: str, things: Sequence[object], owners: Sequence[int], rows: Rows, *, detail: str = "") -> list[Leak]:
    """Return a leak for each thing and each two sides that it stands on, between the first row of either.

    Args:
        owners: the row of each thing.
    """
    first: dict[object, dict[str, int]] = defaultdict(dict)
    for thing, row in zip(things, owners, strict=True):
        if thing is not None and rows.splits[row] is not None:
            first[thing].setdefault(rows.splits[row], row)
    leaks = []
    for sides in first.values():
        leaks += [rows.leak(kind, a, b, detail) for a, b in combinations(sorted(sides.values()), 2)]
    return leaks

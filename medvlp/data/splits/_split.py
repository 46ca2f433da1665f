"""Who stands where, as lists of ids with a hash, a name, and what is wrong with it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from medvlp.core.errors import DataError
from medvlp.core.files import read_json, write_json, written_whole
from medvlp.core.grouped import grouped
from medvlp.core.provenance import hash_of
from medvlp.data._columns import take_rows
from medvlp.data.manifest import Manifest

_SCHEMA = "medvlp.split/1"


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split: a function of a manifest that was carried out, and can be stored.

    Attributes:
        name: ``patient``, ``official``, ``gloria`` ...
        rule: the component that made it.
        unit: what stands on one side only: ``patient``, ``study``, ``site``, ``image`` or ``row``.
        parts: part -> ids, sorted. An id may stand in several parts only where the split it rebuilds has that flaw.
        options: of the rule, with every default.
        left_out: reason -> ids of records that stand in no part on purpose.
        missing: names on its lists that no record of the manifest has.
        card: data card that describes it; empty for a rule.
        flaw: what is wrong with it; empty where nothing is known.
        source: who made it.
        notes: sentences for the reader.
    """

    name: str
    rule: str
    unit: str
    parts: Mapping[str, tuple[str, ...]]
    options: Mapping[str, object] = field(default_factory=dict)
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    card: str = ""
    flaw: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """16 hex digits that identify who stands where; `split_hash` of a manifest that has all of them."""
        return hash_of(sorted(self._placed()))

    @property
    def repeated(self) -> int:
        """Ids that stand in several parts."""
        ids = [name for part in self.parts.values() for name in part]
        return len(ids) - len(set(ids))

    def missing_in(self, manifest: Manifest) -> tuple[str, ...]:
        """Ids on its lists that the manifest has not, with those that were missing when it was made."""
        there = set(manifest.column("id").tolist())
        return (*self.missing, *sorted({name for part in self.parts.values() for name in part} - there))

    def unlisted_in(self, manifest: Manifest) -> tuple[str, ...]:
        """Ids of the manifest that stand neither in a part nor among those left out."""
        listed = {name for part in (*self.parts.values(), *self.left_out.values()) for name in part}
        return tuple(name for name in manifest.column("id").tolist() if name not in listed)

    def caveats(self, manifest: Manifest) -> tuple[str, ...]:
        """Return caveats of using this split on a manifest, the most serious first."""
        missing, unlisted = len(self.missing_in(manifest)), len(self.unlisted_in(manifest))
        notes = [_flaw(self.name, self.card, self.flaw), *self.notes] if self.flaw else list(self.notes)
        if self.repeated:
            notes.append(f"Records in more than one part, repeated as in the original: {self.repeated}.")
        notes += [f"Left out of all parts ({reason}): {len(ids)}." for reason, ids in self.left_out.items()]
        if missing:
            notes.append(f"Listed ids that are not in the manifest: {missing}.")
        if unlisted:
            notes.append(f"{unlisted} of {len(manifest)} records are on no list and stand in no part.")
        return tuple(notes)

    def apply(self, manifest: Manifest) -> Manifest:
        """Return the manifest with the column ``split``, and the split's facts in ``meta``.

        A record of several parts is repeated, ``ID@PART`` from its second part on: the leak is then there to be found.

        Raises:
            DataError: if no record is on its lists.
        """
        where = grouped((name, part) for part, ids in self.parts.items() for name in ids)
        ids = manifest.column("id").tolist()
        if not any(name in where for name in ids):
            raise DataError(
                f"No id of the manifest is on the lists of the split {self.name!r} (the manifest has ids like "
                f"{ids[0]!r}): check that it was made for this data set."
            )
        sides = [where.get(name, [None]) for name in ids]
        whole = manifest
        if self.repeated:
            rows = np.repeat(np.arange(len(ids)), [len(parts) for parts in sides])
            columns = {name: take_rows(manifest.arrow(name), rows) for name in manifest.names}
            columns["id"] = pa.array(
                [_copy(ids[i], p, k) for i, parts in enumerate(sides) for k, p in enumerate(parts)]
            )
            whole = Manifest(pa.table(columns), root=manifest.root, meta=manifest.meta)
        placed = whole.with_column("split", [part for parts in sides for part in parts])
        placed.meta["split"] = {
            **{name: getattr(self, name) for name in ("name", "rule", "unit", "card")},
            "options": dict(self.options),
            "hash": split_hash(placed),
            "listed": self.hash,
            "left_out": {reason: len(names) for reason, names in self.left_out.items()},
            "missing": len(self.missing_in(manifest)),
            "unlisted": len(self.unlisted_in(manifest)),
            "repeated": self.repeated,
            "flaw": self.flaw,
            "source": self.source,
        }
        return placed

    def save(self, path: Path) -> None:
        """Write the split as JSON (complete) or CSV (``id,split``), by the file's ending."""
        path = Path(path)
        if path.suffix.lower() == ".csv":
            with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
                writer = csv.writer(handle, lineterminator="\n")
                writer.writerow(("id", "split"))
                writer.writerows((name, part) for part, ids in self.parts.items() for name in ids)
            return
        names = ("name", "rule", "unit", "card", "options", "flaw", "source", "notes", "parts", "left_out", "missing")
        write_json(path, {"schema": _SCHEMA, "hash": self.hash, **{name: getattr(self, name) for name in names}})

    def _placed(self) -> Iterator[tuple[str, str]]:
        seen: set[str] = set()
        for part, ids in self.parts.items():
            for name in ids:
                yield _copy(name, part, int(name in seen)), part
                seen.add(name)


def load_split(path: Path) -> Split:
    """Read a split that `Split.save` wrote as JSON.

    Raises:
        DataError: if the file is missing, of another kind, or its lists were changed after it was written.
    """
    path = Path(path)
    found: dict[str, Any] = read_json(path)
    if found.get("schema") != _SCHEMA:
        raise DataError(f"{path} is not a stored split ({_SCHEMA}): make one with `medvlp data split --ids`.")
    words = ("name", "rule", "unit", "card", "flaw", "source")
    try:
        split = Split(
            **{key: str(found[key]) for key in words},
            parts={str(part): tuple(map(str, ids)) for part, ids in found["parts"].items()},
            options=dict(found["options"]),
            left_out={str(reason): tuple(map(str, ids)) for reason, ids in found["left_out"].items()},
            missing=tuple(map(str, found["missing"])),
            notes=tuple(map(str, found["notes"])),
        )
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path} lacks or misspells {error}: store the split again.") from None
    if split.hash != found.get("hash"):
        raise DataError(f"The lists of {path} do not have the hash that it names: they were changed, make it again.")
    return split


def of_rows(
    manifest: Manifest,
    sides: np.ndarray | Sequence[str | None],
    *,
    name: str,
    unit: str,
    options: Mapping[str, object],
    parts: Sequence[str] = (),
    left_out: Mapping[str, np.ndarray] | None = None,
    notes: Sequence[str] = (),
) -> Split:
    """Return the split that puts each row of a manifest into the part of the same row of `sides`, None into none.

    Args:
        name: of the split and its rule.
        parts: those that are there even when empty, in their order.
        left_out: reason -> mask of the rows that were left out for it.
    """
    lists: dict[str, list[str]] = {part: [] for part in parts}
    ids = manifest.column("id").tolist()
    for record, side in zip(ids, sides, strict=True):
        if side is not None:
            lists.setdefault(side, []).append(record)
    gone = {
        reason: tuple(sorted(np.array(ids, object)[mask])) for reason, mask in (left_out or {}).items() if mask.any()
    }
    return Split(
        name=name,
        rule=name,
        unit=unit,
        parts={part: tuple(sorted(found)) for part, found in lists.items()},
        options=options,
        left_out=gone,
        notes=tuple(notes),
    )


def split_hash(manifest: Manifest) -> str:
    """Return 16 hex digits that identify who stands where; records that stand nowhere do not enter."""
    splits = manifest.column("split") if "split" in manifest else [None] * len(manifest)
    return hash_of(sorted((name, side) for name, side in zip(manifest.column("id"), splits, strict=True) if side))


def split_caveats(manifest: Manifest) -> tuple[str, ...]:
    """What a reader of numbers on this manifest has to know of its split: the flaw that its card states."""
    made: Any = manifest.meta.get("split")
    if not isinstance(made, dict) or not made.get("flaw"):
        return ()
    return (_flaw(str(made.get("name")), str(made.get("card", "")), str(made["flaw"])),)


def _flaw(name: str, card: str, flaw: str) -> str:
    return f"The split {name!r}{f' of {card}' if card else ''} has a known flaw: {flaw.rstrip('.')}."


def _copy(name: str, part: str | None, earlier: int) -> str:
    return f"{name}@{part}" if earlier else name

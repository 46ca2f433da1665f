"""The same patient, study or file on two sides: told by equal identifiers, bytes or pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from medvlp.data.leakage.leak import Leak
from medvlp.data.leakage.rows import Entry, Rows

__all__ = ["identifier_leaks", "image_leaks", "shared"]


def identifier_leaks(rows: Rows) -> list[Leak]:
    """Return leaks by ``id.patient`` and ``id.study``; identifiers of two scopes are never the same."""
    leaks: list[Leak] = []
    for kind in ("patient", "study"):
        values = rows.column(f"id.{kind}")
        things = [None if value is None else (scope, value) for scope, value in zip(rows.scopes, values, strict=True)]
        leaks += shared(kind, things, range(len(rows)), rows)
    return leaks


def image_leaks(rows: Rows, entries: Sequence[Entry], hashes: Sequence[str], *, detail: str = "") -> list[Leak]:
    """Return leaks by equal files.

    Args:
        rows: all rows.
        entries: their files.
        hashes: one an entry; where a file is not at hand its hash is empty, and only its path tells that it is the
            same (a table of a release without its images can be checked in this way).
        detail: of the leaks.
    """
    things = [sha or str(entry.path) for entry, sha in zip(entries, hashes, strict=True)]
    return shared("image", things, [entry.row for entry in entries], rows, detail=detail)


def shared(kind: str, things: Sequence[object], owners: Sequence[int], rows: Rows, *, detail: str = "") -> list[Leak]:
    """Return a leak for each thing that stands on several sides: the first row that has it with the first of each
    other side.

    Args:
        kind: of the leaks.
        things: hashable; None is nothing.
        owners: the row of each thing.
        rows: all rows.
        detail: of the leaks.
    """
    first: dict[object, dict[str, int]] = defaultdict(dict)
    for thing, row in zip(things, owners, strict=True):
        if thing is not None and rows.splits[row] is not None:
            first[thing].setdefault(rows.splits[row], row)
    leaks = []
    for sides in first.values():
        places = sorted(sides.values())
        leaks += [rows.leak(kind, places[0], later, detail) for later in places[1:]]
    return leaks

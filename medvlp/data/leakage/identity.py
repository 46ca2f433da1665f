"""The same patient, study or file on two sides: told by equal identifiers, bytes or pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from medvlp.data.leakage.leak import Leak
from medvlp.data.leakage.rows import Entry, Rows

__all__ = ["identifier_leaks", "image_leaks", "shared"]


def identifier_leaks(rows: Rows) -> list[Leak]:
    """Return leaks by ``id.patient`` and ``id.study``; identifiers of two scopes are never the same."""
    leaks: list[Leak] = []
    for kind in ("patient", "study"):
        leaks += shared(kind, rows.scoped(f"id.{kind}"), range(len(rows)), rows)
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
    """Return a leak for each thing and each two sides that it stands on, between the first row of either.

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
        leaks += [rows.leak(kind, a, b, detail) for a, b in combinations(sorted(sides.values()), 2)]
    return leaks

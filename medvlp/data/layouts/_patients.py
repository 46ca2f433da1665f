"""One patient under several numbers: rows that share any of several identifiers are one."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["linked"]


def linked(columns: Sequence[Sequence[str] | None]) -> list[str]:
    """Name rows by the first row that a chain of equal, not blank values links them to.

    Example:
        >>> linked([["7", "8", "9", ""], ["a", "b", "a", "b"]])
        ['7', '8', '7', '8']
    """
    there = [column for column in columns if column is not None]
    parent = list(range(len(there[0])))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for column in there:
        first: dict[str, int] = {}
        for row, value in enumerate(column):
            if value:
                a, b = root(first.setdefault(value, row)), root(row)
                parent[max(a, b)] = min(a, b)
    # A row without any value stays without a patient: the split refuses it instead of guessing.
    return [next((column[root(row)] for column in there if column[root(row)]), "") for row in range(len(parent))]

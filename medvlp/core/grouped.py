"""Values put together by a key, as a row of the field's tables is by its study, its patient or its finding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """Return the values of each key; keys stand in the order of their first value, values in theirs.

    Example:
        >>> grouped([("edema", 3), ("mass", 1), ("edema", 2)])
        {'edema': [3, 2], 'mass': [1]}
    """
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found

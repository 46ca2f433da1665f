"""Names of the maps that encoders offer: ``level[0]`` is the finest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medvlp.core.protocols import Level

__all__ = ["level_name", "level_numbers", "level_parts"]


def level_name(index: int) -> str:
    """Name the part that holds a level.

    Example:
        >>> level_name(0)
        'level[0]'
    """
    return f"level[{index}]"


def level_numbers(parts: Iterable[str]) -> list[int]:
    """Return which levels are among parts, finest first.

    Example:
        >>> level_numbers({"tokens", "level[10]", "level[2]"})
        [2, 10]
    """
    return sorted(int(part[len("level[") : -1]) for part in parts if part.startswith("level["))


def level_parts(levels: Sequence[Level]) -> frozenset[str]:
    """Return the parts of the levels of an encoder."""
    return frozenset(level_name(index) for index in range(len(levels)))

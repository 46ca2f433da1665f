"""Lead letters on a film: a small hand-drawn font."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

__all__ = ["LETTERS", "letter_image"]

_ROWS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
        "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
        "A": (".###.", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
        "P": ("####.", "#...#", "#...#", "####.", "#....", "#....", "#...."),
        "S": (".####", "#....", "#....", ".###.", "....#", "....#", "####."),
        "U": ("#...#", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
    }
)
LETTERS: Final[frozenset[str]] = frozenset(_ROWS)
"""Letters that can be drawn."""


def letter_image(text: str, height: int) -> np.ndarray:
    """Return letters as float32 (height, W), 1 on the strokes.

    Args:
        text: of `LETTERS`; others are left out.
        height: pixels, at least 7 to be legible.

    Example:
        >>> letter_image("L", 7).sum()
        np.float32(11.0)
    """
    columns = []
    for letter in text:
        if letter in _ROWS:
            columns.append(np.array([[mark == "#" for mark in row] + [False] for row in _ROWS[letter]], np.float32))
    if not columns:
        return np.zeros((height, 0), np.float32)
    small = np.concatenate(columns, 1)[:, :-1]
    width = max(round(small.shape[1] * height / 7), 1)
    rows = np.minimum(np.arange(height) * 7 // height, 6)
    return small[rows][:, np.minimum(np.arange(width) * small.shape[1] // width, small.shape[1] - 1)]

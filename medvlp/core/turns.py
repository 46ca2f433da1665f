"""Arrays of a picture, turned by quarter turns and mirrors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def nearest_turn(turn: np.ndarray | Sequence[Sequence[float]]) -> tuple[bool, bool, bool]:
    """Return whether a matrix of points (x, y, 1) swaps x and y, and mirrors what is then x, and y: as near as may be.

    Example:
        >>> nearest_turn(((0.0, 1.0, 0.0), (-1.0, 0.0, 3.0)))
        (True, False, True)
    """
    (a, b), (d, e) = turn[0][:2], turn[1][:2]
    swaps = bool(abs(b) + abs(d) > abs(a) + abs(e))
    return swaps, bool((b if swaps else a) < 0), bool((d if swaps else e) < 0)


def turned_back(values: np.ndarray, turn: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    """Return (H, W), or (H, W, C), turned as a matrix turns its points, by the nearest quarter turn and mirror.

    Example:
        >>> turned_back(np.array([[1, 2, 3]]), ((0.0, 1.0, 0.0), (-1.0, 0.0, 3.0))).tolist()
        [[3], [2], [1]]
    """
    swaps, across, down = nearest_turn(turn)
    values = values.swapaxes(0, 1) if swaps else values
    values = values[:, ::-1] if across else values
    return np.ascontiguousarray(values[::-1] if down else values)

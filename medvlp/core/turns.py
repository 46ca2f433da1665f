"""Arrays of a picture, turned by quarter turns and mirrors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def turned_back(values: np.ndarray, turn: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    """Return (H, W), or (H, W, C), turned as a matrix turns its points, by the nearest quarter turn and mirror.

    Example:
        >>> turned_back(np.array([[1, 2, 3]]), ((0.0, 1.0, 0.0), (-1.0, 0.0, 3.0))).tolist()
        [[3], [2], [1]]
    """
    (a, b), (d, e) = turn[0][:2], turn[1][:2]
    if abs(b) + abs(d) > abs(a) + abs(e):
        values, a, e = values.swapaxes(0, 1), b, d
    values = values[:, ::-1] if a < 0 else values
    return np.ascontiguousarray(values[::-1] if e < 0 else values)

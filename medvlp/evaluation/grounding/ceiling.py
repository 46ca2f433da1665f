"""What a perfect map on a coarse grid would reach: no map points more finely than the middles of its cells."""

from __future__ import annotations

import numpy as np

from medvlp.evaluation.grounding.case import Case
from medvlp.statistics.metrics import FloatArray


def grid_ceiling(case: Case) -> float:
    """Return the pointing game of the best map with one strongest cell on the grid of a case.

    Such a map points at the middle of a cell; one at the edge of the view at the outer half of it, where a map is held
    at its last value, by the region's share there. So 1 where a box holds the middle of any cell, which is then the
    middle of the cell that it overlaps most; 0 for a small finding between the middles, whatever a model knows of it.

    Args:
        case: whose map tells the grid, and whose region is asked for.

    Example:
        >>> case = Case(id="a", patient="p", finding="nodule", values=np.zeros((4, 4)), view=(0, 0, 64, 64),
        ...             size=(64, 64), boxes=((20, 20, 30, 30),))
        >>> grid_ceiling(case)  # the middle of the second cell lies at 24
        1.0
    """
    rows, columns = (_strongest(*axis) for axis in zip(case.axes, case.values.shape, strict=True))
    return float((rows @ case.region @ columns.T).max())


def _strongest(place: FloatArray, cells: int) -> FloatArray:
    """Return where a map is highest whose peak is each of the cells, (cells, pixels), each row summing to 1, or to 0.

    Args:
        place: of the pixels over the view, 0 to 1; outside it nothing was seen.
        cells: along this axis.
    """
    away = np.abs(np.clip(place * cells - 0.5, 0, cells - 1) - np.arange(cells)[:, None])
    away[:, (place < 0) | (place > 1)] = np.inf
    nearest = np.isclose(away, away.min(axis=1, keepdims=True), rtol=0, atol=1e-9) & (away < 1)
    return nearest / np.maximum(nearest.sum(axis=1, keepdims=True), 1)

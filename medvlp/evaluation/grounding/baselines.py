"""What a map must beat: the middle of every picture, and one box for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medvlp.core.errors import DataError
from medvlp.evaluation.grounding.box_ap import box_iou
from medvlp.evaluation.grounding.case import Box, Case

_CELLS = 64
_MOST_CANDIDATES = 300


def centre_prior(case: Case) -> Case:
    """Return the case with a Gaussian hill in the middle of the picture, its deviation a quarter of the sides.

    Example:
        >>> case = Case(id="a", patient="p", finding="mass", values=np.zeros((1, 1)), view=(0, 0, 8, 8), size=(8, 8))
        >>> hill = centre_prior(case).evidence
        >>> bool(hill[3, 3] == hill.max() > hill[0, 0])
        True
    """
    place = (np.arange(_CELLS) + 0.5) / _CELLS - 0.5
    hill = np.exp(-0.5 * (place / 0.25) ** 2)
    return _over_image(case, np.outer(hill, hill))


def constant_box(case: Case, box: Box) -> Case:
    """Return the case with 1 in a box given in shares of the picture's sides, and 0 elsewhere (to 1/64 of a side)."""
    x0, y0, x1, y1 = box
    place = (np.arange(_CELLS) + 0.5) / _CELLS
    inside = np.outer((place >= y0) & (place < y1), (place >= x0) & (place < x1))
    if not inside.any():
        inside[np.abs(place - (y0 + y1) / 2).argmin(), np.abs(place - (x0 + x1) / 2).argmin()] = True
    return _over_image(case, inside.astype(np.float64))


def fit_constant_box(boxes: Sequence[Sequence[Box]]) -> Box:
    """Return the one training box that overlaps the training pictures' boxes most.

    The mean over pictures of its best IoU with any box there; a mean of corners would fall between the lungs for
    whatever has two sides. Of more than 300 candidates evenly spaced ones are tried.

    Args:
        boxes: of each training picture, in shares of its sides.

    Raises:
        DataError: if there are no boxes.

    Example:
        >>> fit_constant_box([[(0, 0, 0.4, 0.4)], [(0, 0, 0.5, 0.4)], [(0.6, 0.6, 1, 1)]])
        (0, 0, 0.4, 0.4)
    """
    images = [list(some) for some in boxes if some]
    candidates = [box for some in images for box in some]
    if not candidates:
        raise DataError("There are no training boxes to fit a constant box on: leave this baseline out.")
    step = -(-len(candidates) // _MOST_CANDIDATES)
    return max(candidates[::step], key=lambda box: sum(max(box_iou(box, other) for other in some) for some in images))


def _over_image(case: Case, values: np.ndarray) -> Case:
    height, width = case.size
    return replace(case, values=values, view=(0.0, 0.0, float(width), float(height)), flip=False)

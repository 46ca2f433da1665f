"""What a map, a box or a mask must beat: the middle of every picture, and one box or mask for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medvlp.core.errors import DataError
from medvlp.evaluation.grounding.box_ap import box_iou
from medvlp.evaluation.grounding.case import Box, Case

_CELLS = 64
_MOST_CANDIDATES = 300
_MASK_CELLS = 128


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


def fit_constant_mask(masks: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return the one mask, over 128 x 128 cells of a picture, that agrees best with training masks.

    Its cells are those that lie in more than some share of them, the share with the highest mean Dice.

    Args:
        masks: (H, W), each of a training picture's own size.

    Example:
        >>> corner, upper = np.zeros((2, 4), bool), np.zeros((4, 2), bool)
        >>> corner[:1, :2] = upper[:2] = True
        >>> resized(fit_constant_mask([corner, corner, upper]), (2, 4)).astype(int).tolist()
        [[1, 1, 0, 0], [0, 0, 0, 0]]
    """
    cells = np.stack([resized(mask, (_MASK_CELLS, _MASK_CELLS)).ravel() for mask in masks]).astype(np.float32)
    share = cells.mean(axis=0)
    tried = (share > np.unique(share)[:, None]).astype(np.float32)
    dice = 2 * cells @ tried.T / np.maximum(cells.sum(axis=1)[:, None] + tried.sum(axis=1), 1)
    return tried[dice.mean(axis=0).argmax()].reshape(_MASK_CELLS, _MASK_CELLS) > 0


def resized(mask: NDArray[np.bool_], shape: Sequence[int]) -> NDArray[np.bool_]:
    """Return a mask over the same picture with other sides, looked up at the middle of each pixel.

    Example:
        >>> resized(np.array([[True, False]]), (2, 4)).astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    places = zip(shape, mask.shape, strict=True)
    return mask[np.ix_(*(((np.arange(many) + 0.5) * side / many).astype(np.int64) for many, side in places))]


def _over_image(case: Case, values: np.ndarray) -> Case:
    height, width = case.size
    return replace(case, values=values, view=(0.0, 0.0, float(width), float(height)), flip=False)

"""Average precision of boxes drawn around what a map marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from medvlp.evaluation.grounding.case import Box, Case
from medvlp.evaluation.grounding.measures import scaled
from medvlp.statistics.metrics import FloatArray


@dataclass(frozen=True)
class Detections:
    """Predicted boxes of many cases against their true ones.

    Attributes:
        score: (M,) of each predicted box.
        hit: (M,) whether it took a true box.
        owner: (M,) case of each.
        truths: (C,) true boxes of each case.
    """

    score: FloatArray
    hit: NDArray[np.bool_]
    owner: NDArray[np.int64]
    truths: NDArray[np.int64]


def boxes_of_map(case: Case) -> list[tuple[float, Box]]:
    """Return (strongest value, box in source pixels) around each connected part at or above half the peak.

    Boxes are drawn within a picture; pictures are compared by the map's own values. No positive value, no box.
    """
    evidence = case.evidence
    parts, count = label(scaled(evidence, "peak") >= 0.5)
    if not count:
        return []
    tops = [evidence[place][parts[place] == at].max() for at, place in enumerate(find_objects(parts), 1)]
    return [(float(top), box) for top, box in zip(tops, _around(parts, case.step), strict=True)]


def boxes_of_region(case: Case) -> list[Box]:
    """Return the true boxes; where there is only a mask, those around its connected parts."""
    if case.boxes or case.mask is None:
        return list(case.boxes)
    parts, _ = label(case.mask)
    return _around(parts, 1)


def box_iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes; 0 where neither has an area.

    Example:
        >>> box_iou((0, 0, 2, 2), (1, 0, 3, 2)).__round__(4)
        0.3333
    """
    across = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    either = sum(areas) - across * down
    return across * down / either if either > 0 else 0.0


def match(predicted: Sequence[tuple[float, Box]], truths: Sequence[Box], *, iou: float) -> list[bool]:
    """Return whether each predicted box takes a true one: strongest first, the free one it overlaps most, if enough.

    Example:
        >>> match([(0.5, (0, 0, 2, 2)), (0.9, (0, 0, 2, 2))], [(0, 0, 2, 2)], iou=0.5)
        [False, True]
    """
    free, hits = list(truths), [False] * len(predicted)
    for at in sorted(range(len(predicted)), key=lambda i: -predicted[i][0]):
        best = max(free, key=lambda truth: box_iou(predicted[at][1], truth), default=None)
        if best is not None and box_iou(predicted[at][1], best) >= iou:
            free.remove(best)
            hits[at] = True
    return hits


def box_average_precision(found: Detections, weights: FloatArray) -> FloatArray:
    """Return the average precision under weights of the cases, nothing interpolated; equal scores are one step.

    Args:
        found: over C cases.
        weights: (C, B).

    Returns:
        (B,), NaN where no true box has weight.

    Example:
        >>> found = Detections(np.array([0.9, 0.8]), np.array([False, True]), np.array([0, 0]), np.array([1]))
        >>> box_average_precision(found, np.ones((1, 1))).tolist()
        [0.5]
    """
    truths = found.truths @ weights
    safe = np.where(truths > 0, truths, 1.0)
    if not len(found.score):
        return np.where(truths > 0, 0.0, np.nan)
    order = np.argsort(-found.score, kind="stable")
    weight = weights[found.owner[order]]  # (M, B)
    last = np.append(np.diff(found.score[order]) != 0, True)
    called = np.cumsum(weight, axis=0)[last]
    right = np.cumsum(weight * found.hit[order][:, None], axis=0)[last]
    gain = np.diff(right, axis=0, prepend=0.0)
    precision = right / np.where(called > 0, called, 1.0)
    return np.where(truths > 0, (gain * precision).sum(axis=0) / safe, np.nan)


def _around(parts: NDArray[np.int32], step: int) -> list[Box]:
    side = float(step)
    return [(x.start * side, y.start * side, x.stop * side, y.stop * side) for y, x in find_objects(parts)]

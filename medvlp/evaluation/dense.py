"""Numbers of drawn regions, case by case: Dice by class and average precision of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medvlp.core.predictions import BoxSet, Mask
from medvlp.evaluation.grounding.box_ap import Detections, box_average_precision, match

__all__ = ["boxes_ap", "case_dice", "detections"]


def case_dice(
    predicted: Sequence[Mapping[str, Mask]],
    truth: Sequence[Mapping[str, NDArray[np.bool_] | None]],
    labels: Sequence[str],
) -> NDArray[np.float64]:
    """Return Dice of each case and class, (N, K): 2 |A and B| / (|A| + |B|).

    NaN where the truth lacks the class, so that it is unknown, or nothing was predicted of it. Of an empty truth Dice
    is 1 if nothing was drawn and 0 if something was.

    Args:
        predicted: of N cases, class -> mask.
        truth: of N cases, class -> mask of the same shape; absent or None: unknown.
        labels: K classes.

    Raises:
        ValueError: if a mask has another shape than its truth.

    Example:
        >>> drawn, lung = np.array([[True, True, False]]), np.array([[True, False, False]])
        >>> case_dice([{"lung": Mask.of(drawn)}], [{"lung": lung}], ["lung", "heart"]).round(3).tolist()
        [[0.667, nan]]
    """
    found = np.full((len(truth), len(labels)), np.nan)
    for i, (said, known) in enumerate(zip(predicted, truth, strict=True)):
        for k, label in enumerate(labels):
            true = known.get(label)
            if true is None or label not in said:
                continue
            drawn = said[label].array()
            if drawn.shape != true.shape:
                raise ValueError(f"The mask of {label!r} in case {i} is {drawn.shape} and its truth {true.shape}.")
            area = int(drawn.sum()) + int(true.sum())
            found[i, k] = 2 * int((drawn & true).sum()) / area if area else 1.0
    return found


def detections(
    predicted: Sequence[BoxSet], truth: Sequence[NDArray[np.floating] | None], label: str, *, iou: float
) -> Detections:
    """Match the boxes of a class with the true ones of each case: surest first, to the free one it overlaps most.

    Args:
        predicted: of N cases.
        truth: of N cases, (n, 4) x0, y0, x1, y1; None: unknown, the case takes no part.
        label: the class.
        iou: from which overlap a box is right.

    Example:
        >>> said = BoxSet(np.array([[0.0, 0, 2, 2], [5, 5, 6, 6]]), np.array([0.9, 0.8]), ("nodule", "nodule"))
        >>> found = detections([said], [np.array([[0.0, 0, 2, 2]])], "nodule", iou=0.3)
        >>> found.hit.tolist(), found.truths.tolist()
        ([True, False], [1])
    """
    scores: list[float] = []
    hits: list[bool] = []
    owners: list[int] = []
    counts = np.zeros(len(truth), np.int64)
    for i, (said, true) in enumerate(zip(predicted, truth, strict=True)):
        if true is None:
            continue
        counts[i] = len(true)
        own = [
            (float(score), tuple(map(float, box)))
            for box, score, name in zip(said.boxes, said.scores, said.labels, strict=True)
            if name == label
        ]
        hits += match(own, [tuple(map(float, box)) for box in true], iou=iou)  # pyrefly: ignore
        scores += [score for score, _ in own]
        owners += [i] * len(own)
    return Detections(np.array(scores), np.array(hits, dtype=bool), np.array(owners, dtype=np.int64), counts)


def boxes_ap(
    predicted: Sequence[BoxSet],
    truth: Sequence[Mapping[str, NDArray[np.floating] | None]],
    labels: Sequence[str],
    *,
    iou: float,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return average precision of each class under weights of the cases, (K, B); nothing interpolated.

    Args:
        predicted: of N cases.
        truth: of N cases, class -> true boxes; absent or None: unknown.
        labels: K classes.
        iou: from which overlap a box is right.
        weights: (N, B), of B resamples; None: one of ones.

    Returns:
        NaN where no true box has weight.

    Example:
        >>> said = BoxSet(np.array([[0.0, 0, 2, 2]]), np.array([0.9]), ("nodule",))
        >>> boxes_ap([said], [{"nodule": np.array([[0.0, 0, 2, 2]])}], ["nodule", "mass"], iou=0.3).tolist()
        [[1.0], [nan]]
    """
    given = np.ones((len(truth), 1)) if weights is None else weights
    rows = [detections(predicted, [known.get(label) for known in truth], label, iou=iou) for label in labels]
    return np.stack([box_average_precision(found, given) for found in rows])

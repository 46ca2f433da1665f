"""AUROC and average precision, exact with ties, refused where they are not defined; labels and scores checked.

How both are computed of a ranking, and of the thousands of rankings of a bootstrap: `ranked`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.core.errors import DataError
from medvlp.statistics.ranked import rank_rows
from medvlp.statistics.table import rank_metrics

FloatArray = NDArray[np.float64]


class UndefinedMetricError(DataError):
    """A metric that does not exist for these rows, because one of the two classes is missing.

    Attributes:
        reason: ``"no_positives"``, ``"no_negatives"`` or ``"no_rows"``, as written into a result.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def checked_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    """Return labels as ``(n,)`` booleans.

    Raises:
        DataError: if they are not one-dimensional or hold anything but 0 and 1.

    Example:
        >>> checked_labels([0, 1.0]).tolist()
        [False, True]
    """
    array = np.asarray(labels)
    if array.ndim != 1:
        raise DataError(
            f"Labels have shape {array.shape}, a metric takes one label a row: give an array of shape (n,)."
        )
    positive = array == 1
    if not np.all(positive | (array == 0)):
        bad = array[~(positive | (array == 0))][0]
        raise DataError(
            f"Labels hold {bad!s}, a metric takes 0 (absent) and 1 (present) only: "
            f"leave uncertain (-1) and missing rows out first."
        )
    return positive


def check_both_classes(labels: NDArray[np.bool_], what: str) -> None:
    """Refuse rows of one class.

    Args:
        labels: ``(n,)`` booleans.
        what: does not exist for them, as the beginning of a sentence.

    Raises:
        UndefinedMetricError: if a class has no rows.
    """
    missing = "positives" if not labels.any() else "negatives" if labels.all() else ""
    if missing:
        raise UndefinedMetricError(
            f"{what}: the {len(labels)} rows hold no {missing}; give rows of both classes or leave this label out.",
            reason=f"no_{missing}",
        )


def checked_scores(scores: ArrayLike, *, rows: int, name: str = "Scores") -> FloatArray:
    """Return scores as ``(rows,)`` float64; nothing is clipped or squashed, logits are as good as probabilities.

    Raises:
        DataError: if the shape is not ``(rows,)`` or a value is NaN or infinite.

    Example:
        >>> checked_scores([2, -7.5], rows=2).tolist()
        [2.0, -7.5]
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.shape != (rows,):
        raise DataError(f"{name} have shape {array.shape}, labels have {rows} rows: give one value a row.")
    finite = np.isfinite(array)
    if not finite.all():
        raise DataError(
            f"{name} are NaN or infinite in {int((~finite).sum())} of {rows} rows, the first at row "
            f"{int(np.flatnonzero(~finite)[0])}: mend the predictor or leave these rows out."
        )
    return array


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the receiver operating characteristic, ties by mid-rank.

    Args:
        labels: ``(n,)`` of 0 and 1.
        scores: ``(n,)`` finite numbers, higher means more likely present; any monotone scale.

    Raises:
        UndefinedMetricError: if a class has no rows.
        DataError: if labels are not 0 or 1, or a score is NaN or infinite.

    Example:
        >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    return _of_ranking("auroc", labels, scores, "AUROC")


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the average precision (step sum, no interpolation); arguments and errors as `auroc`.

    It is refused without negatives too: there it is 1 for every ranking.

    Example:
        >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
        0.8333
    """
    return _of_ranking("average_precision", labels, scores, "Average precision")


def _of_ranking(metric: str, labels: ArrayLike, scores: ArrayLike, words: str) -> float:
    positive = checked_labels(labels)
    values = checked_scores(scores, rows=len(positive))
    if len(positive) == 0:
        raise UndefinedMetricError(f"{words} of no rows is not defined: give rows of both classes.", reason="no_rows")
    for kind, rows in (("positive", positive), ("negative", ~positive)):
        if not rows.any():
            raise UndefinedMetricError(
                f"{words} is not defined: none of the {len(positive)} rows is {kind}; "
                f"leave this label out or give rows of both classes.",
                reason=f"no_{kind}s",
            )
    ranked = rank_rows(positive, values, np.zeros(len(positive), np.int64))
    return dict(zip(rank_metrics(), ranked.values(np.ones(1, np.int32)), strict=True))[metric]

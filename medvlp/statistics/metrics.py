"""AUROC and average precision, exact with ties and weights, refused where they are not defined.

Both numbers depend on a row only through its place among the *distinct scores of the positives* (the levels): a
negative lies above a level, on it, or below all of them. A row is therefore in one of 3G + 1 slots, a weighting is a
histogram over the slots, and the same few lines serve one weighting and the thousands of a bootstrap (`bootstrap.py`).
The price is a sort of the positives and one binary search a row; what it buys is that a resample needs no sort at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.core.errors import DataError

FloatArray = NDArray[np.float64]


class UndefinedMetricError(DataError):
    """A metric that does not exist for these rows, because one of the two classes is missing.

    Attributes:
        reason: ``"no_positives"``, ``"no_negatives"`` or ``"no_rows"``, as written into a result.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ScoreLevels:
    """The slot of every row relative to the G distinct scores of the positives, highest score first.

    Level g owns the slots ``3 g`` (negatives between it and the next higher level), ``3 g + 1`` (negatives tied with
    it) and ``3 g + 2`` (its positives); slot ``3 G`` holds the negatives below every positive.

    Attributes:
        slot: ``(n,)`` slot of each row.
        levels: G.
    """

    slot: NDArray[np.int64]
    levels: int

    @property
    def slots(self) -> int:
        """Number of slots, 3 G + 1."""
        return 3 * self.levels + 1

    def histogram(self, weights: FloatArray | None = None) -> FloatArray:
        """Return the weight in each slot, ``(3 G + 1,)``; without weights every row counts 1."""
        return np.bincount(self.slot, weights=weights, minlength=self.slots).astype(np.float64)


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


def score_levels(labels: NDArray[np.bool_], scores: FloatArray) -> ScoreLevels:
    """Return the slot of every row (see `ScoreLevels`).

    Args:
        labels: ``(n,)`` booleans, checked.
        scores: ``(n,)`` finite float64.

    Example:
        >>> score_levels(np.array([True, False, False, True]), np.array([0.9, 0.9, 0.1, 0.4])).slot.tolist()
        [2, 1, 6, 5]
    """
    ascending = np.unique(scores[labels])
    levels = len(ascending)
    if not levels:
        return ScoreLevels(np.zeros(len(scores), np.int64), 0)
    left = np.searchsorted(ascending, scores)
    on_level = (left < levels) & (ascending[np.minimum(left, levels - 1)] == scores)
    slot = np.where(on_level, 3 * (levels - 1 - left) + 1 + labels, 3 * (levels - left))
    return ScoreLevels(slot.astype(np.int64, copy=False), levels)


def _unit_histogram(labels: NDArray[np.bool_], scores: FloatArray) -> FloatArray:
    """Return ``score_levels(labels, scores).histogram()`` from two plain sorts, without the place of each row."""
    level, positives = np.unique(scores[labels], return_counts=True)
    negatives = np.sort(scores[~labels])
    below, through = np.searchsorted(negatives, level), np.searchsorted(negatives, level, side="right")
    histogram = np.empty(3 * len(level) + 1)
    histogram[0:-1:3] = (np.append(below[1:], len(negatives)) - through)[::-1]
    histogram[1::3] = (through - below)[::-1]
    histogram[2::3] = positives[::-1]
    histogram[-1] = below[0] if len(level) else len(negatives)
    return histogram


def auroc_of_slots(histogram: FloatArray) -> FloatArray:
    """Return the AUROC of slot histograms ``(3 G + 1, ...)``, shape ``(...)``; NaN where a class has no weight.

    ``sum_g pos_g (N - FP_g + tie_g / 2) / (P N)``: the chance that a positive outscores a negative, ties counting half.

    Example:
        >>> float(auroc_of_slots(np.array([0.0, 1.0, 1.0, 3.0])))
        0.875
    """
    above, tied, positive = histogram[0:-1:3], histogram[1::3], histogram[2::3]
    false_positive = np.cumsum(above + tied, axis=0)
    negatives = (false_positive[-1] if len(above) else 0.0) + histogram[-1]
    positives = positive.sum(axis=0)
    won = (positive * (negatives - false_positive + 0.5 * tied)).sum(axis=0)
    product = positives * negatives
    return np.where(product > 0, won / np.where(product > 0, product, 1.0), np.nan)


def average_precision_of_slots(histogram: FloatArray) -> FloatArray:
    """Return the average precision of slot histograms ``(3 G + 1, ...)``; NaN where a class has no weight.

    ``sum_g (pos_g / P) TP_g / (TP_g + FP_g)``: the step sum of the precision-recall curve, nothing interpolated.

    Example:
        >>> float(average_precision_of_slots(np.array([0.0, 1.0, 1.0, 3.0])))
        0.5
    """
    above, tied, positive = histogram[0:-1:3], histogram[1::3], histogram[2::3]
    called = np.cumsum(above + tied + positive, axis=0)
    true_positive = np.cumsum(positive, axis=0)
    positives = positive.sum(axis=0)
    negatives = (above + tied).sum(axis=0) + histogram[-1]
    defined = (positives > 0) & (negatives > 0)
    # A level that no resampled row reaches has called = 0 and adds nothing.
    precision = true_positive / np.where(called > 0, called, 1.0)
    return np.where(defined, (positive * precision).sum(axis=0) / np.where(defined, positives, 1.0), np.nan)


def _histogram(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None, metric: str) -> FloatArray:
    positive = checked_labels(labels)
    values = checked_scores(scores, rows=len(positive))
    weight = None if weights is None else checked_scores(weights, rows=len(positive), name="Weights")
    if weight is not None and (weight < 0).any():
        raise DataError("Weights hold negative values: a row's weight is 0 or more.")
    if len(positive) == 0:
        raise UndefinedMetricError(f"{metric} of no rows is not defined: give rows of both classes.", reason="no_rows")
    histogram = (
        _unit_histogram(positive, values) if weight is None else score_levels(positive, values).histogram(weight)
    )
    for kind, total, reason in (
        ("positive", histogram[2::3].sum(), "no_positives"),
        ("negative", histogram[0::3].sum() + histogram[1::3].sum(), "no_negatives"),
    ):
        if total <= 0:
            raise UndefinedMetricError(
                f"{metric} is not defined: none of the {len(positive)} rows is {kind}; "
                f"leave this label out or give rows of both classes.",
                reason=reason,
            )
    return histogram


def auroc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the area under the receiver operating characteristic, ties by mid-rank.

    Args:
        labels: ``(n,)`` of 0 and 1.
        scores: ``(n,)`` finite numbers, higher means more likely present; any monotone scale.
        weights: ``(n,)`` non-negative row weights.

    Raises:
        UndefinedMetricError: if a class has no rows (or no weight).
        DataError: if labels are not 0 or 1, or a score is NaN or infinite.

    Example:
        >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    return float(auroc_of_slots(_histogram(labels, scores, weights, "AUROC")))


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the average precision (step sum, no interpolation); arguments and errors as `auroc`.

    It is refused without negatives too: there it is 1 for every ranking.

    Example:
        >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
        0.8333
    """
    return float(average_precision_of_slots(_histogram(labels, scores, weights, "Average precision")))

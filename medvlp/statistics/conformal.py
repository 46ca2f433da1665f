"""Split conformal sets for a finding: "present", "absent", both (do not know), or neither (like no case seen before).

Two quantiles of validation scores, one a class, so that the guarantee holds for positives and for negatives apart: of
new cases of either class, at least the level asked for have their class in the set, whatever the scores are worth
(Vovk 2012; Sadinle, Lei and Wasserman 2019). A set of one is an answer, every other one an abstention. The guarantee
is over patients like those of validation and on average over them; `coverage` says what it came to, and in which group
it did not hold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medvlp.core.errors import DataError
from medvlp.statistics.conformal_sets import SetRule
from medvlp.statistics.metrics import FloatArray, UndefinedMetricError, checked_labels, checked_scores


def fit_sets(labels: ArrayLike, scores: ArrayLike, *, level: float = 0.9) -> SetRule:
    """Choose both quantiles on validation rows.

    Of n positives the ``ceil((n + 1) level)`` highest scores are kept; where that is more than n there are too few to
    promise anything, and every set holds the class.

    Args:
        labels: ``(n,)`` of 0 and 1.
        scores: ``(n,)`` finite.
        level: coverage asked for, between 0 and 1.

    Raises:
        UndefinedMetricError: if a class is missing.
        DataError: if the level is not between 0 and 1, labels are not 0 or 1, or a score is NaN or infinite.

    Example:
        >>> rule = fit_sets([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.5, 0.8, 0.9], level=0.7)
        >>> rule.present_from, rule.absent_to, rule.sets([0.3, 0.55, 0.7]).size.tolist()
        (0.5, 0.6, [1, 2, 1])
    """
    if not 0 < level < 1:
        raise DataError(f"A coverage of {level:g} cannot be promised: give a level between 0 and 1, such as 0.9.")
    truth = checked_labels(labels)
    values = checked_scores(scores, rows=len(truth))
    if not truth.any() or truth.all():
        missing = "positives" if not truth.any() else "negatives"
        raise UndefinedMetricError(
            f"No conformal set can be fitted: the {len(truth)} validation rows hold no {missing}.",
            reason=f"no_{missing}",
        )
    positive, negative = np.sort(values[truth])[::-1], np.sort(values[~truth])
    return SetRule(
        level,
        _retained(positive, level),
        _retained(negative, level),
        positives=len(positive),
        negatives=len(negative),
    )


def _retained(outermost_last: FloatArray, level: float) -> float | None:
    """Return the score of the last kept row of one class, sorted from the safest to the most surprising."""
    n = len(outermost_last)
    rank = int(np.ceil((n + 1) * level - 1e-9))
    return None if rank > n else float(outermost_last[rank - 1])

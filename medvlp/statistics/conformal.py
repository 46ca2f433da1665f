"""Split conformal sets for a finding: "present", "absent", both (do not know), or neither (like no case seen before).

Two quantiles of validation scores, one a class, so that the guarantee holds for positives and for negatives apart: of
new cases of either class, at least the level asked for have their class in the set, whatever the scores are worth
(Vovk 2012; Sadinle, Lei and Wasserman 2019). A set of one is an answer, every other one an abstention. The guarantee
is over new patients like those of validation, any one row of each, and on average over them; rows of one patient are
alike, so each patient counts once however many rows it has (Lee, Barber and Willett 2023). `conformal_coverage` says
what it came to, and in which group it did not hold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medvlp.core.errors import DataError
from medvlp.statistics.conformal_sets import SetRule
from medvlp.statistics.metrics import FloatArray, check_both_classes, checked_labels, checked_scores


def fit_sets(labels: ArrayLike, scores: ArrayLike, *, patients: ArrayLike | None = None, level: float = 0.9) -> SetRule:
    """Choose both quantiles on validation rows, for a promise to new patients.

    Each of the P patients with a positive weighs ``1 / (P + 1)``, divided among their positives, and one more patient,
    the new one, stands behind them all. The highest scores are kept until they weigh the level; where all of them do
    not there are too few patients to promise anything, and every set holds the class. With one row a patient the
    ``ceil((P + 1) level)`` highest are kept.

    Args:
        labels: ``(n,)`` of 0 and 1.
        scores: ``(n,)`` finite.
        patients: ``(n,)`` identifiers of one sortable type; None where each row is a patient of its own.
        level: coverage asked for, between 0 and 1.

    Raises:
        UndefinedMetricError: if a class is missing.
        DataError: if the level is not between 0 and 1, labels are not 0 or 1, a score is NaN or infinite, or there is
            not one patient a row.

    Example:
        >>> rule = fit_sets([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.5, 0.8, 0.9], level=0.7)
        >>> rule.present_from, rule.absent_to, rule.sets([0.3, 0.55, 0.7]).size.tolist()
        (0.5, 0.6, [1, 2, 1])
    """
    if not 0 < level < 1:
        raise DataError(f"A coverage of {level:g} cannot be promised: give a level between 0 and 1, such as 0.9.")
    truth = checked_labels(labels)
    values = checked_scores(scores, rows=len(truth))
    people = np.arange(len(truth)) if patients is None else np.asarray(patients)
    if people.shape != truth.shape:
        raise DataError(f"Patients have shape {people.shape}, labels have {len(truth)} rows: give one patient a row.")
    check_both_classes(truth, "No conformal set can be fitted on validation rows")
    return SetRule(
        level,
        _retained(values[truth], people[truth], level, sign=-1),
        _retained(values[~truth], people[~truth], level, sign=1),
        positives=int(truth.sum()),
        negatives=int((~truth).sum()),
    )


def _retained(scores: FloatArray, patients: np.ndarray, level: float, *, sign: int) -> float | None:
    """Return the score of the last kept row of one class, from the safest (lowest times `sign`) on."""
    code = np.unique(patients, return_inverse=True)[1]
    rows = np.bincount(code)
    order = np.argsort(sign * scores, kind="stable")
    share = np.cumsum(1 / rows[code[order]]) / (len(rows) + 1)
    enough = np.flatnonzero(share >= level - 1e-9)
    return float(scores[order[enough[0]]]) if len(enough) else None

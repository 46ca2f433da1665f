"""What an attribute tells alone: the view, the site or the scanner as a score of a finding, without any picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from medvlp.core.errors import DataError
from medvlp.statistics.metrics import FloatArray


def attribute_scores(values: Sequence[object], train_values: Sequence[object], train_labels: ArrayLike) -> FloatArray:
    """Return, for each row, how often its value of an attribute goes with a finding among the training rows.

    ``(positives + 1) / (rows + 2)`` of the training rows with that value; a value that training has not, or a blank, is
    scored as all training rows together. An AUROC of this score is what a model may reach by recognising the value.

    Args:
        values: N values of the rows to score; None and NaN are blank.
        train_values: M values of training rows.
        train_labels: ``(M,)`` 1, 0; -1 and NaN take no part.

    Raises:
        DataError: if labels and values have different lengths.

    Example:
        >>> attribute_scores(["AP", "PA", "LL"], ["AP", "AP", "PA", "PA"], [1, 1, 0, 1]).round(3).tolist()
        [0.75, 0.5, 0.667]
    """
    truth = np.asarray(train_labels, dtype=np.float64)
    if truth.shape != (len(train_values),):
        raise DataError(f"There are {len(train_values)} training values and labels {truth.shape}: give one a row.")
    known = np.isin(truth, (0.0, 1.0))
    names = np.array([_name(value) for value in train_values], dtype=object)

    def rate(chosen: np.ndarray) -> float:
        return (float(truth[chosen].sum()) + 1) / (float(chosen.sum()) + 2)

    rates = {name: rate(known & (names == name)) for name in set(names[known]) - {None}}
    everybody = rate(known)
    return np.array([rates.get(name, everybody) for name in map(_name, values)])


def _name(value: object) -> str | None:
    """Return what a value is told by: a whole float as the whole number, for gaps make floats; a blank is None."""
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return None
        return str(int(value)) if float(value).is_integer() else str(value)
    return None if value is None else str(value)

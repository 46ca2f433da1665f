"""Which cases to look at: the surest hit, the worst miss, the worst false alarm, and the case that is least decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp.statistics.metrics import FloatArray, auroc


@dataclass(frozen=True, slots=True)
class ErrorCases:
    """Rows of four cases of one finding.

    Attributes:
        hit: the present case with the highest score.
        miss: the present case with the lowest score.
        false_alarm: the absent case with the highest score.
        unsure: the case at whose score misses and false alarms are most nearly equally frequent.
    """

    hit: int
    miss: int
    false_alarm: int
    unsure: int


def error_cases(labels: NDArray[np.floating], scores: FloatArray) -> ErrorCases | None:
    """Return the four cases; None where a class is empty. The first row wins among equals.

    Args:
        labels: ``(N,)``, 1 present and 0 absent; all others are left out.
        scores: ``(N,)``.

    Example:
        >>> error_cases(np.array([1.0, 1, 1, 0, 0, 0]), np.array([0.9, 0.8, 0.1, 0.2, 0.3, 0.6]))
        ErrorCases(hit=0, miss=2, false_alarm=5, unsure=4)
    """
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    if not len(positive) or not len(negative):
        return None
    rows = np.flatnonzero((labels == 0) | (labels == 1))
    missed = np.searchsorted(np.sort(scores[positive]), scores[rows], side="left") / len(positive)
    alarmed = 1 - np.searchsorted(np.sort(scores[negative]), scores[rows], side="right") / len(negative)
    return ErrorCases(
        hit=int(positive[np.argmax(scores[positive])]),
        miss=int(positive[np.argmin(scores[positive])]),
        false_alarm=int(negative[np.argmax(scores[negative])]),
        unsure=int(rows[np.argmin(np.abs(missed - alarmed))]),
    )


def hardest_findings(
    labels: Mapping[str, NDArray[np.floating]], scores: Mapping[str, FloatArray], *, count: int
) -> list[str]:
    """Return the findings with the lowest AUROC, hardest first; findings without both classes are left out.

    Example:
        >>> truth = {"a": np.array([0.0, 1]), "b": np.array([0.0, 1]), "c": np.array([0.0, 0])}
        >>> hardest_findings(truth, {"a": np.array([0.1, 0.2]), "b": np.array([0.2, 0.1]), "c": np.ones(2)}, count=3)
        ['b', 'a']
    """
    found = []
    for name, values in labels.items():
        known = (values == 0) | (values == 1)
        if len(np.unique(values[known])) == 2:
            found.append((auroc(values[known], scores[name][known]), name))
    return [name for _, name in sorted(found)[:count]]

"""The reliability diagram: observed share against mean probability in bins of equal mass, with bands over patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medvlp.statistics.bootstrap import Interval
from medvlp.statistics.calibration.errors import equal_mass_bins
from medvlp.statistics.metrics import checked_labels
from medvlp.statistics.probability_metrics import checked_probabilities
from medvlp.statistics.proportions import share_of


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows of similar probability.

    Attributes:
        probability: their mean probability.
        observed: share that is positive.
        interval: Wilson's, of the observed share, patients counted by their effective number.
        n, patients: rows and patients.
    """

    probability: float
    observed: float
    interval: Interval
    n: int
    patients: int


def reliability_bins(
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike | None = None,
    *,
    bins: int = 10,
    level: float = 0.95,
) -> list[ReliabilityBin]:
    """Return the bins of a reliability diagram, lowest probability first.

    Args:
        labels: ``(n,)`` of 0 and 1.
        probabilities: ``(n,)`` in [0, 1].
        patients: ``(n,)`` identifiers; None where every row is its own patient.
        bins: wanted; ties may leave fewer.
        level: of the bands.

    Raises:
        DataError: if labels are not 0 or 1, or a probability is NaN or outside [0, 1].

    Example:
        >>> found = reliability_bins([0, 0, 1, 1], [0.1, 0.3, 0.7, 0.9], bins=2)
        >>> [(each.probability, each.observed, each.n) for each in found]
        [(0.2, 0.0, 2), (0.8, 1.0, 2)]
    """
    truth = checked_labels(labels)
    values = checked_probabilities(probabilities, rows=len(truth))
    code = np.arange(len(truth)) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    place = equal_mass_bins(values, bins)
    found = []
    for each in range(int(place.max(initial=-1)) + 1):
        rows = place == each
        share = share_of(truth[rows], np.unique(code[rows], return_inverse=True)[1], level=level)
        mean = float(values[rows].mean())
        found.append(
            ReliabilityBin(mean, float(truth[rows].mean()), share.wilson(level=level), share.n, share.patients)
        )
    return found

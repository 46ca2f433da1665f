"""Linear probe: logistic regressions on frozen features, their strengths chosen on validation patients.

With the strength that was chosen a probe is fitted once more on training and validation patients together. Its scores
of validation patients are then those of patients that it has seen: no threshold and no calibration may be chosen on
them, and none is; whoever needs one sets `refit` to false, or holds further patients out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from medvlp.adaptation._adapter import SCALE, Adapter, Candidate, Positive, classes_of
from medvlp.evaluation.linear_classifier import STRENGTHS, Standard, fit_classifiers, standard_of
from medvlp.statistics.metrics import FloatArray

_STRENGTH = 1e-2


class Linear(Adapter):
    """One L2 logistic regression a finding; its strength is chosen by AUROC on validation, the weakest C wins a tie.

    Features are standardised by the rows that are fitted. A finding of one class in training is left out, by name and
    reason.

    Args:
        strengths: inverse regularisations C to try.
        refit: whether each regression is fitted again with its strength on training and validation rows together.
        balanced: whether both classes of a finding weigh alike, however rare one is.

    Example:
        >>> from medvlp.core.answers import ProbeTable
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> tables = [ProbeTable(x, {"effusion": (x[:, 0] > 0).astype(float)}, [who] * 20) for who in "ab"]
        >>> probe = Linear().fit(*tables, bank={})
        >>> bool(probe.log_odds(np.array([[1.0]]))[0, 0] > 0), probe.validation_auroc
        (True, {'effusion': 1.0})
    """

    axes: ClassVar[tuple[str, ...]] = ("strengths",)
    title: ClassVar[str] = "Linear probe"

    def __init__(self, *, strengths: Positive = STRENGTHS, refit: bool = True, balanced: bool = False) -> None:
        self.strengths = tuple(sorted(strengths))
        self.refit, self.balanced = refit, balanced

    def candidates(
        self, rows: FloatArray, labels: FloatArray, words: FloatArray | None, grid: Sequence[float]
    ) -> list[Candidate]:
        """One regression a finding for each strength."""
        return linear_candidates(rows, labels, grid, balanced=self.balanced)


def linear_candidates(
    rows: FloatArray, labels: FloatArray, strengths: Sequence[float], *, balanced: bool = False
) -> list[Candidate]:
    """Return the tensors of a linear head over (N, D) for each strength, weakest first."""
    standard = standard_of(rows)
    features, basis = standard(rows), None
    if len(rows) < rows.shape[1]:  # once for all findings: the weights lie in the span of the rows
        basis = np.linalg.qr(features.T)[0]
        features = features @ basis
    weight = np.zeros((len(strengths), labels.shape[1], rows.shape[1]))
    bias = np.zeros(weight.shape[:2])
    for k in range(labels.shape[1]):
        if (found := classes_of(labels[:, k])) is None:
            continue
        known, present = found
        for at, each in enumerate(fit_classifiers(features[known], present, strengths=strengths, balanced=balanced)):
            weight[at, k] = each.weight if basis is None else basis @ each.weight
            bias[at, k] = each.bias
    return [unstandardised(w, b, standard) for w, b in zip(weight, bias, strict=True)]


def unstandardised(weight: FloatArray, bias: FloatArray, standard: Standard) -> Candidate:
    """Return the linear head over features that gives what weights (K, D) over standardised ones gave."""
    plain = weight / standard.scale
    return {"output.weight": plain, "output.bias": bias - plain @ standard.mean}


def start_of(rows: FloatArray, labels: FloatArray, words: FloatArray | None) -> Candidate:
    """Return the linear head that an adapter adds to.

    Args:
        rows: (N, D).
        labels: (N, K), NaN unknown.
        words: (K, D) text vectors; with them nothing is fitted.
    """
    if words is not None:
        return {"output.weight": SCALE * words, "output.bias": np.zeros(len(words))}
    return linear_candidates(rows, labels, [_STRENGTH], balanced=True)[0]


def own_standard(rows: FloatArray, words: FloatArray | None) -> Standard:
    """Return what rows are standardised by: by nothing in a space that they share with words.

    A constant column has an infinite scale and so plays no part.
    """
    width = rows.shape[1]
    return standard_of(rows) if words is None else Standard(np.zeros(width), np.ones(width))

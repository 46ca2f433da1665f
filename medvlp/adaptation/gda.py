"""Gaussian discriminant analysis on frozen features: a closed form that trained adapters find hard to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medvlp.adaptation._adapter import SCALE, Adapter, Candidate, Positive, classes_of
from medvlp.adaptation.linear import unstandardised
from medvlp.evaluation.linear_classifier import standard_of
from medvlp.statistics.metrics import FloatArray


@dataclass(kw_only=True, eq=False)
class Gda(Adapter):
    r"""Two Gaussians of one covariance a finding, on top of the zero-shot score of words (Wang et al. 2024).

    ``P = D ((N - 1) S + r tr(S) I)^-1`` with the covariance S of rows less their class means, and equal priors:
    ``x P (mu_1 - mu_0) - (mu_1 P mu_1 - mu_0 P mu_0) / 2``. With text vectors t the score is ``100 x t + a`` times it.
    The paper's ridge has r = 1; r and a are chosen for each finding on validation.

    Args:
        ridges: r to try.
        weights: a to try where there are words.
        standardise: whether columns are scaled to unit variance first: features of several layers differ in size.
        refit: whether it is fitted again on training and validation rows together.

    Example:
        >>> from medvlp.core.answers import ProbeTable
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> tables = [ProbeTable(x, {"effusion": (x[:, 0] > 0).astype(float)}, [who] * 20) for who in "ab"]
        >>> Gda().fit(*tables, bank={}).validation_auroc
        {'effusion': 1.0}
    """

    title: ClassVar[str] = "Gaussian discriminants"

    ridges: Positive = (10.0, 1.0, 0.1, 0.01)
    weights: Positive = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    standardise: bool = True
    refit: bool = True

    def grid(self, words: FloatArray | None) -> Sequence[tuple[float, float]]:
        """The grid of ridge strengths and text weights to choose from."""
        return list(product(self.ridges, (1.0,) if words is None else self.weights))

    def candidates(
        self, rows: FloatArray, labels: FloatArray, words: FloatArray | None, grid: Sequence[tuple[float, float]]
    ) -> list[Candidate]:
        """Discriminants of each finding for each ridge, times each weight, on top of the words."""
        ridges = sorted({ridge for ridge, _ in grid})
        standard = standard_of(rows)
        features = standard(rows) if self.standardise else rows
        weight = {ridge: np.zeros((labels.shape[1], rows.shape[1])) for ridge in ridges}
        bias = {ridge: np.zeros(labels.shape[1]) for ridge in ridges}
        for k in range(labels.shape[1]):
            if (found := classes_of(labels[:, k])) is not None:
                for ridge, (w, b) in zip(ridges, discriminants(features[found[0]], found[1], ridges), strict=True):
                    weight[ridge][k], bias[ridge][k] = w, b
        made: list[Candidate] = []
        for ridge, share in grid:
            w, b = weight[ridge], bias[ridge]
            own = unstandardised(w, b, standard) if self.standardise else {"output.weight": w, "output.bias": b}
            base = 0.0 if words is None else SCALE * words
            made.append(
                {"output.weight": base + share * own["output.weight"], "output.bias": share * own["output.bias"]}
            )
        return made


def discriminants(
    rows: FloatArray, present: NDArray[np.bool_], ridges: Sequence[float]
) -> list[tuple[FloatArray, float]]:
    """Return weight (D,) and bias for each ridge, by the rows' Gram matrix where they are fewer than columns.

    Args:
        rows: (N, D).
        present: (N,), both classes.
        ridges: r of each.

    Example:
        >>> rows = np.array([[-1.0], [-3.0], [1.0], [3.0]])
        >>> [(weight, bias)] = discriminants(rows, np.array([False, False, True, True]), [1.0])
        >>> (weight * 4 / 3).round(6).tolist(), round(bias, 6)  # D (mu_1 - mu_0) / ((N - 1) S + tr S): 4 / (4 + 4 / 3)
        ([1.0], 0.0)
    """
    means = np.stack([rows[~present].mean(axis=0), rows[present].mean(axis=0)])
    centred = rows - means[present.astype(int)]
    few = len(rows) < rows.shape[1]
    values, vectors = np.linalg.eigh(centred @ centred.T if few else centred.T @ centred)
    spread = float((centred**2).sum())
    sides = (means @ centred.T if few else means) @ vectors
    found = []
    for ridge in ridges:
        # A class of one row has no spread of its own; where no class has any, the nearest mean decides.
        level = ridge * spread / (len(rows) - 1) or 1.0
        if few:
            # Woodbury: (X'X + l I)^-1 m = (m - X' (XX' + l I)^-1 X m) / l.
            solved = (means - (sides / (np.maximum(values, 0) + level)) @ vectors.T @ centred) / level
        else:
            solved = (sides / (np.maximum(values, 0) + level)) @ vectors.T
        solved = solved * rows.shape[1]
        quadratic = (means * solved).sum(axis=1)
        found.append((solved[1] - solved[0], float(quadratic[0] - quadratic[1]) / 2))
    return found

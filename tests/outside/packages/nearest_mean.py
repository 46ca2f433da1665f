"""A probe: one file, one class with ``fit``, whose answer reads features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from medvlp.core.answers import FEATURES, Answer, Ask, ProbeTable, Rows
from medvlp.core.keys import Key, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model

__all__ = ["NearestMean"]


class MeanDifference(Answer):
    """Scores of findings: features times the difference of the classes' means."""

    gives: ClassVar[frozenset[str]] = frozenset({"scores"})
    title = "nearest mean"

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.labels, self.weights = tuple(weights), dict(weights)

    def needs(self, model: Model) -> frozenset[Key]:
        return keys(FEATURES)

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:
        features = np.asarray(rows.table[FEATURES])
        return Predictions(tuple(rows.table.ids), scores={name: features @ w for name, w in self.weights.items()})


class NearestMean:
    """The direction from the mean of the patients without a finding to that of those with it."""

    def fit(self, train: ProbeTable, validation: ProbeTable, bank: Mapping[str, np.ndarray]) -> Answer:
        return MeanDifference(
            {
                name: train.features[told == 1].mean(0) - train.features[told == 0].mean(0)
                for name, told in train.labels.items()
            }
        )

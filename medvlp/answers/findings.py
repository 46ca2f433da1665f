"""Findings of a classifier on what a tower makes of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model


class Findings(Answer):
    """Probabilities, by form and not by calibration, from logits (R, K) that a head gives for K findings.

    Args:
        labels: K findings in the head's order.
        part: what the head is mounted as; its view is that of the model's pictures.
        exclusive: softmax over the findings instead of a sigmoid of each.
        ordered: each finding implies those before it, and its logit speaks of what has them (`Ordinal`): its
            probability is the product of the sigmoids up to it.

    Raises:
        ConfigError: for no labels, or one that comes twice.

    Example:
        >>> Findings(labels=["effusion", "edema"]).labels
        ('effusion', 'edema')
    """

    gives: ClassVar[frozenset[str]] = frozenset({"scores"})
    title = "Findings of a classifier"

    def __init__(
        self, *, labels: list[str], part: str = "findings", exclusive: bool = False, ordered: bool = False
    ) -> None:
        if not labels or len(set(labels)) < len(labels):
            raise ConfigError(f"A head's findings are {labels}: name each once, in the order of its outputs.")
        self.labels = tuple(labels)
        self.part = part
        self.exclusive, self.ordered = exclusive, ordered

    def needs(self, model: Model) -> frozenset[Key]:
        """The head's logits."""
        return frozenset({Key(model.vision_kind, self.part)})

    def begin(self, model: Model, ask: Ask) -> str:
        """Return the column that is read."""
        return str(Key(model.vision_kind, self.part))

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:  # noqa: ANN401
        """Return a score for each finding, or for those asked for.

        Raises:
            ConfigError: if the head has another number of outputs.
        """
        logits = rows.table[begun].astype(np.float64)
        if logits.ndim != 2 or logits.shape[1] != len(self.labels):
            raise ConfigError(
                f"The head {begun} gives {logits.shape[1:]}, not a logit for {len(self.labels)} findings."
            )
        shares, wanted = self.shares(logits), ask.findings or self.labels
        return Predictions(
            tuple(rows.table.ids), scores={n: shares[:, i] for i, n in enumerate(self.labels) if n in wanted}
        )

    def shares(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities (N, K) of logits (N, K)."""
        if self.exclusive:
            return softmax(logits, axis=1)
        return expit(logits).cumprod(axis=1) if self.ordered else expit(logits)

    def released(self) -> Mapping[str, object]:
        """Its labels and where they are read."""
        options = {"labels": list(self.labels), "part": self.part, "exclusive": self.exclusive}
        return options | ({"ordered": True} if self.ordered else {})

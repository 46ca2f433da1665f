"""Existence of findings, as a dual-stream model (MeDSLIP) says it: one probability by form for each of its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from medvlp.answers.dual_stream.findings import Mounted, look_at, mounted_at
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.keys import Key, parse_key
from medvlp.core.map import Map
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.core.sample import Sample
from medvlp.text.medslip_findings import finding_columns, score_names

__all__ = ["Existence"]


class Existence(Answer):
    """softmax over present and absent of each word (Fan et al. 2024, MeDSLIP): scores by finding, else by word.

    Words that were never both present and absent in training are left out, unless they are asked for by name. Findings
    that share a word have one score.

    Args:
        head: name of the `dual_stream` head.
        labels: findings among its words; where none is named those that the head has, once it is asked.

    Example:
        >>> Existence().released()
        {'head': 'medslip', 'labels': []}
    """

    gives: ClassVar[frozenset[str]] = frozenset({"scores"})
    title = "Existence of findings"

    def __init__(self, *, head: str = "medslip", labels: list[str] = []) -> None:  # noqa: B006  (read only)
        self.head = head
        self.labels = tuple(labels)

    def needs(self, model: Model) -> frozenset[Key]:
        """The logits of existence."""
        return frozenset({parse_key(f"{model.pictures}/{self.head}_pathology")})

    def check(self, model: Model) -> None:
        """Refuse a model without the head, and learn its findings."""
        self.labels = self.labels or tuple(finding_columns(mounted_at(model, self.head).observations))
        super().check(model)

    def begin(self, model: Model, ask: Ask) -> Mounted:
        """Return the head in its place."""
        return mounted_at(model, self.head)

    def answer(self, rows: Rows, ask: Ask, begun: Mounted) -> Predictions:
        """Return the scores of all known words, or of findings and words that are asked for."""
        logits = rows.table[begun.key("pathology")].astype(np.float64)
        present = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
        known = begun.head.known.pathology.cpu().numpy()
        findings = finding_columns(begun.observations)
        words = {name: i for i, name in enumerate(score_names(begun.observations)) if name not in findings}
        names = findings | words
        stated = [name for name, i in names.items() if known[i] or not known.any()]
        asked = [name for name in ask.findings if name in names]
        scores = {name: present[:, names[name]] for name in (asked if ask.findings else stated)}
        left = 0 if ask.findings else int((~known).sum())
        told = f"{left} of {len(known)} words were never both present and absent in training: they are left out."
        return Predictions(tuple(rows.table.ids), scores=scores, notes=(told,) if left and known.any() else ())

    def look(self, model: Model, sample: Sample, begun: Mounted, asked: Sequence[tuple[str, str]]) -> list[Map] | None:
        """Return where the decoder looked for words, and at their places: the mean over its layers and heads."""
        return look_at(model, self.head, sample, asked)

    def released(self) -> Mapping[str, object]:
        """Where it is read, and its findings."""
        return {"head": self.head, "labels": list(self.labels)}

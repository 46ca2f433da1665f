"""Existence of findings, as a decoder's queries (MeDSLIP, MedKLIP, KAD, MAVL) say it: a probability by form each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from medvlp.answers._dual_stream import Mounted, mounted_at
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.keys import Key, Plan
from medvlp.core.map import Map
from medvlp.core.modes import evaluating
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch, Sample
from medvlp.models.heads.text_queries import TextQueries
from medvlp.text.medslip_findings import finding_columns, score_names


@dataclass(frozen=True)
class _Asked:
    """Names of a head's queries, which of them were learnt, and where their logits are."""

    head: Mounted | TextQueries
    key: Key
    words: tuple[str, ...]
    known: np.ndarray
    findings: dict[str, int]

    @property
    def places(self) -> dict[str, int]:
        """What each score is called, findings first, and its query."""
        words = enumerate(score_names(self.words))
        return self.findings | {name: i for i, name in words if name not in self.findings}


class Existence(Answer):
    """softmax over present and absent of each query (Fan et al. 2024, MeDSLIP): scores by finding, else by word.

    Words that were never both present and absent in training are left out, unless they are asked for by name. Findings
    that share a word have one score.

    Args:
        head: name of the `dual_stream` or `text_queries` head.
        labels: findings among its words; where none is named those that the head has, once it is asked. Of a
            `text_queries` head no others have a score: several findings may share a word of a foreign list.

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
        return frozenset({self._asked(model).key})

    def check(self, model: Model) -> None:
        """Refuse a model without the head, and learn its findings."""
        self.labels = self.labels or tuple(self._asked(model).findings)
        super().check(model)

    def begin(self, model: Model, ask: Ask) -> _Asked:
        """Return the findings and words asked for."""
        return self._asked(model)

    def answer(self, rows: Rows, ask: Ask, begun: _Asked) -> Predictions:
        """Return the scores of all known words, or of findings and words that are asked for."""
        logits = rows.table[str(begun.key)].astype(np.float64)
        present = expit(logits[..., 1] - logits[..., 0])
        known, names = begun.known, begun.places
        stated = [name for name, i in names.items() if known[i] or not known.any()]
        asked = [name for name in ask.findings if name in names]
        scores = {name: present[:, names[name]] for name in (asked if ask.findings else stated)}
        left = 0 if ask.findings else int((~known).sum())
        note = f"{left} of {len(known)} words were never both present and absent in training: they are left out."
        return Predictions(tuple(rows.table.ids), scores=scores, notes=(note,) if left and known.any() else ())

    def look(self, model: Model, sample: Sample, begun: _Asked, asked: Sequence[tuple[str, str]]) -> list[Map] | None:
        """Return where the decoder looked for words, and at their places: the mean over its layers and heads."""
        head = begun.head
        if isinstance(head, Mounted):
            return head.look(model, sample, asked)
        pixels = sample.fields.get(model.vision_kind)
        if not isinstance(pixels, Tensor):
            return None
        plan = Plan.of([begun.key, *(Key(model.vision_kind, part) for part in head.reads)])
        with evaluating(model), torch.inference_mode():
            batch = Batch.of({model.vision_kind: pixels[None].to(head.book.device)})
            encoded = model.finish(model(batch, plan), plan)[model.vision_kind]
            seen = head.attention(encoded)[0].float().mean(dim=0).cpu().numpy()
        if encoded.grid is None:
            return None
        scores = encoded.part(begun.key.part)[0].float().softmax(dim=-1)[:, 1].tolist()
        rows = [begun.places[name] for name, _ in asked]
        return [Map(seen[row].reshape(encoded.grid), method="cross_attention", score=scores[row]) for row in rows]

    def _asked(self, model: Model) -> _Asked:
        head = dict(model.heads.items()).get(f"{model.vision_kind}/{self.head}")
        if isinstance(head, TextQueries):
            findings = {k: i for k, i in finding_columns(head.names).items() if not self.labels or k in self.labels}
            known = np.ones(len(head.names), dtype=bool)
            return _Asked(head, Key(model.vision_kind, self.head), head.names, known, findings)
        found = mounted_at(model, self.head)
        known = found.head.known.pathology.cpu().numpy()
        words = found.observations
        return _Asked(found, found.key("pathology"), words, known, finding_columns(words))

"""Pairs: which finding lies at which place, as a dual-stream model (MeDSLIP) says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.special import expit

from medvlp.answers._dual_stream import Mounted, mounted_at
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.keys import Key
from medvlp.core.map import Map
from medvlp.core.predictions import PairScores, Predictions
from medvlp.core.protocols import Model
from medvlp.core.sample import Sample
from medvlp.text.medslip_findings import abnormal_words


class Pairs(Answer):
    """sigmoid of the pair logits F_a F_p^T of every place and word (Fan et al. 2024, MeDSLIP).

    Known are pairs of something abnormal that were both present and absent in training. A pair is learnt from what
    reports place, and most of what they place is present: so `PairScores.present` stands beside it.

    Args:
        head: name of the `dual_stream` head.

    Example:
        >>> Pairs(head="medslip").gives
        frozenset({'pairs'})
    """

    gives: ClassVar[frozenset[str]] = frozenset({"pairs"})
    streams: ClassVar[bool] = True  # places x words numbers a picture

    def __init__(self, *, head: str = "medslip") -> None:
        self.head = head

    def needs(self, model: Model) -> frozenset[Key]:
        """The logits of pairs, of existence and of places."""
        mounted = mounted_at(model, self.head)
        return frozenset(mounted.key(part) for part in ("", "pathology", "anatomy"))

    def begin(self, model: Model, ask: Ask) -> Mounted:
        """Return the head that computes the pairs."""
        return mounted_at(model, self.head)

    def answer(self, rows: Rows, ask: Ask, begun: Mounted) -> Predictions:
        """Return the pairs."""
        logits = rows.table[str(begun.key("pathology"))].astype(np.float64)
        known = begun.head.known_pairs.cpu().numpy()
        listed = np.zeros(known.shape, dtype=bool)
        listed[:, list(abnormal_words(begun.observations))] = True
        left = int((~known).sum())
        note = f"{left} of {known.size} pairs were never both present and absent in training: they are left out."
        pairs = PairScores(
            begun.anatomies,
            begun.observations,
            expit(rows.table[str(begun.key())]).astype(np.float32),
            listed & (known | ~known.any()),
            expit(logits[..., 1] - logits[..., 0]).astype(np.float32),
        )
        return Predictions(tuple(rows.table.ids), pairs=pairs, notes=(note,) if left and known.any() else ())

    def look(self, model: Model, sample: Sample, begun: Mounted, asked: Sequence[tuple[str, str]]) -> list[Map] | None:
        """Return where the decoder looked for words at their places: the product of both maps, at sum 1."""
        return begun.look(model, sample, asked)

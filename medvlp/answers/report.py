"""A written report: what a generator that the model was trained with makes of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy.special import expit

from medvlp.answers._writer import Writer, memories, refuse_ragged
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.decoding import Decoding
from medvlp.core.keys import Key, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model


class Report(Answer):
    """The report of a generator: word by word until the end of a text, chosen as `Decoding` says, greedily unasked.

    A picture that is not there has no report, which is the empty text. With `findings` a classifier looks first, and
    the generator is told which findings are present (Jin et al. 2024).

    Args:
        head: name of the `generator`.
        reads: key of what it writes from.
        longest: most tokens of a report; None: as many as the tokenizer allows.
        findings: key of the logits (K,) of the findings that the generator is told; None: it is told none.
        threshold: probability from which a finding is told as present.
        decoding: how words are chosen where who asks does not say it: ``beams=4``; empty: greedily, see `Decoding`.

    Example:
        >>> Report(findings="image/findings").released()["threshold"]
        0.5
    """

    gives: ClassVar[frozenset[str]] = frozenset({"text"})

    def __init__(
        self,
        *,
        head: str = "captioner",
        reads: str = "image/tokens",
        longest: Annotated[int, Field(ge=1)] | None = None,
        findings: str | None = None,
        threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        decoding: str = "",
    ) -> None:
        self.head = head
        self.reads = reads
        self.longest = longest
        self.findings = findings
        self.threshold = threshold
        self.decoding = Decoding.of(decoding)
        self._decoding = decoding

    def needs(self, model: Model) -> frozenset[Key]:
        """What the generator writes from, and the findings that it is told."""
        return keys(self.reads, *([] if self.findings is None else [self.findings]))

    def check(self, model: Model) -> None:
        """Refuse a model that cannot write."""
        refuse_ragged(self.reads, model)
        Writer.of(model, self.head)
        super().check(model)

    def begin(self, model: Model, ask: Ask) -> Writer:
        """Return the generator with its tokenizer."""
        return Writer.of(model, self.head)

    def answer(self, rows: Rows, ask: Ask, begun: Writer) -> Predictions:
        """Write a report of each row."""
        texts = [""] * len(rows.table)
        present = None
        if self.findings is not None:
            likely = expit(rows.table[self.findings].astype(np.float64)) >= self.threshold
            present = torch.from_numpy(likely).to(begun.device, torch.float32)
        for index, memory in memories(rows.table[self.reads], begun.device):
            written = begun.write(
                memory,
                longest=self.longest,
                findings=None if present is None else present[index],
                decoding=ask.decoding or self.decoding,
                ids=[rows.table.ids[i] for i in index],
            )
            for row, text in zip(index, written, strict=True):
                texts[row] = text
        return Predictions(tuple(rows.table.ids), text=tuple(texts))

    def released(self) -> Mapping[str, object]:
        """Its options."""
        given: dict[str, object] = (
            {} if self.findings is None else {"findings": self.findings, "threshold": self.threshold}
        )
        given |= {"decoding": self._decoding} if self._decoding else {}
        return {"head": self.head, "reads": self.reads, "longest": self.longest, **given}

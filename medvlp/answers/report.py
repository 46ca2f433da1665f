"""A written report: what a generator that the model was trained with says of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from medvlp.answers._pictures import memories, refuse_ragged
from medvlp.answers._writer import Writer
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.keys import Key, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model

__all__ = ["Report"]


class Report(Answer):
    """The report of greedy decoding: at each place the most probable word, until the end of a text.

    A picture that is not there has no report, which is the empty text.

    Args:
        head: name of the `generator`.
        reads: key of what it writes from.
        longest: most tokens of a report; None: as many as the tokenizer allows.

    Example:
        >>> Report().released()
        {'head': 'captioner', 'reads': 'image/tokens', 'longest': None}
    """

    gives: ClassVar[frozenset[str]] = frozenset({"text"})

    def __init__(
        self,
        *,
        head: str = "captioner",
        reads: str = "image/tokens",
        longest: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        self.head = head
        self.reads = reads
        self.longest = longest

    def needs(self, model: Model) -> frozenset[Key]:
        """What the generator writes from."""
        return keys(self.reads)

    def check(self, model: Model) -> None:
        """Refuse a model that cannot write."""
        refuse_ragged(self.reads)
        Writer.of(model, self.head)
        super().check(model)

    def begin(self, model: Model, ask: Ask) -> Writer:
        """Return the generator with its tokenizer."""
        return Writer.of(model, self.head)

    def answer(self, rows: Rows, ask: Ask, begun: Writer) -> Predictions:
        """Write a report of each row."""
        texts = [""] * len(rows.table)
        for index, memory in memories(rows.table[self.reads], begun.device):
            for row, text in zip(index, begun.write(memory, longest=self.longest), strict=True):
                texts[row] = text
        return Predictions(tuple(rows.table.ids), text=tuple(texts))

    def released(self) -> Mapping[str, object]:
        """Its options."""
        return {"head": self.head, "reads": self.reads, "longest": self.longest}

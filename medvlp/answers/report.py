"""A written report: what a generator that the model was trained with says of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medvlp.answers._pictures import memories, refuse_ragged, towers_of
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.models.encoders._text import TextTower
from medvlp.models.heads.generator import Generator
from medvlp.text.tokenizers import SpeakingTokenizer

__all__ = ["Report", "Writer"]


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


@dataclass(frozen=True)
class Writer:
    """A generator in its model, with the tokenizer that it speaks.

    Attributes:
        head: the generator.
        words: the tokenizer.
        tower: the text tower, where the generator stands on its tokens.
        device: of the model.
    """

    head: Generator
    words: SpeakingTokenizer
    tower: TextTower | None
    device: torch.device

    @classmethod
    def of(cls, model: Model, head: str) -> Writer:
        """Find a generator.

        Raises:
            ConfigError: if the model lacks it, or its tokenizer cannot turn ids into words.
        """
        towers = towers_of(model, head)
        generator, tower = towers.heads[head], towers.towers["text"]
        words: Any = getattr(tower, "words", None)
        if not isinstance(generator, Generator):
            raise ConfigError(
                f"The head {head!r} is a {type(generator).__name__} and writes nothing: name a generator."
            )
        if not isinstance(words, SpeakingTokenizer):
            raise ConfigError(
                f"The tokenizer {type(words).__name__} has no start_id, stop_id and decode, so nothing can be written: "
                f"use clinical_wordpiece or transformers."
            )
        stands = generator.words == "tower"
        assert not stands or isinstance(tower, TextTower)  # the generator was built on it
        own = tower if stands and isinstance(tower, TextTower) else None
        return cls(generator, words, own, next(towers.parameters()).device)

    def write(self, memory: Tensor, *, longest: int | None = None, after: str = "") -> list[str]:
        """Write from (R, N, W) what follows `after`, the same for each row.

        Args:
            memory: of the pictures.
            longest: most tokens; as many as the tokenizer allows where that is less.
            after: words that are given, such as a question.
        """
        made = self.words([after])
        given = made.ids[0][made.mask[0]].tolist() if after else [self.words.start_id]
        given = given[:-1] if given[-1] == self.words.stop_id else given
        room = self.words.max_length - len(given)
        if made.truncated or room < 1:
            raise ConfigError(f"{after!r} leaves no room for an answer: raise tokenizer.max_length.")
        start = torch.tensor([given], device=self.device).expand(len(memory), -1)
        stop, tower = self.words.stop_id, None if self.tower is None else self.tower.tokens_of
        ids = self.head.write(memory, None, start=start, stop=stop, longest=min(longest or room, room), tower=tower)
        return [self.words.decode([i for i in row if i != stop]) for row in ids.tolist()]

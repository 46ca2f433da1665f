"""Who writes: a generator in its model, with the tokenizer that it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medvlp.answers._pictures import towers_of
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model
from medvlp.models.encoders._text import TextTower
from medvlp.models.heads.generator import Generator
from medvlp.text.tokenizers import SpeakingTokenizer

__all__ = ["Writer"]


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

    def write(
        self, memory: Tensor, *, longest: int | None = None, after: str = "", findings: Tensor | None = None
    ) -> list[str]:
        """Write from (R, N, W) what follows `after`, the same for each row.

        Args:
            memory: of the pictures.
            longest: most tokens; as many as the tokenizer allows where that is less.
            after: words that are given, such as a question.
            findings: (R, K) that the generator is told, 1 present and 0 absent.
        """
        made = self.words([after])
        given = made.ids[0][made.mask[0]].tolist() if after else [self.words.start_id]
        given = given[:-1] if given[-1] == self.words.stop_id else given
        room = self.words.max_length - len(given)
        if made.truncated or room < 1:
            raise ConfigError(f"{after!r} leaves no room for an answer: raise tokenizer.max_length.")
        start = torch.tensor([given], device=self.device).expand(len(memory), -1)
        stop, tower = self.words.stop_id, None if self.tower is None else self.tower.tokens_of
        ids = self.head.write(
            memory, None, start=start, stop=stop, longest=min(longest or room, room), tower=tower, findings=findings
        )
        return [self.words.decode([i for i in row if i != stop]) for row in ids.tolist()]

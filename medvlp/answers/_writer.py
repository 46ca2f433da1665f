"""What answers in words share: the vectors that they read of images, and a generator with the tokenizer it speaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp.core.decoding import Decoding
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.core.protocols import Model
from medvlp.core.randomness import hashed_uniform, seed_of
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._text import TextTower
from medvlp.models.encoders.biovil_t import reads_priors
from medvlp.models.heads._speaker import Speaker
from medvlp.text.tokenizers import SpeakingTokenizer

_ROWS = 32  # a picture's tokens, keys and values of some layers: a group fits wherever the model does


def towers_of(model: object, head: str) -> TowerModel:
    """Return a model as one of towers that has a head.

    Raises:
        ConfigError: if it is none, or lacks the head or a text tower.
    """
    if not isinstance(model, TowerModel) or head not in model.heads or not model.reads_text:
        raise ConfigError(
            f"This model has no head {head!r} beside a text tower, which an answer in words needs: train it with the "
            f"objective that declares that answer."
        )
    return model


def refuse_ragged(reads: str, model: Model) -> None:
    """Refuse tokens that differ in number from picture to picture: one table has as many for each.

    Raises:
        ConfigError: for the slices of a stack.
    """
    key = parse_key(reads)
    # Tokens of a film and its prior are places of the film.
    if key.view.startswith("stack") and _one_a_slice(key.part, model) and not reads_priors(model):
        raise ConfigError(
            f"{reads!r} has as many tokens as a stack has slices: let the answer read a pooler of several queries."
        )


def _one_a_slice(part: str, model: Model) -> bool:
    """Tell whether a part of stacks is tokens, or made of each of them: by a head that does not ask which are real."""
    head = dict(model.heads.items()).get(f"stack/{part}")
    if head is None:
        return part == "tokens"
    return "mask" not in head.reads and any(_one_a_slice(each, model) for each in head.reads)


def memories(column: NDArray[np.float32], device: torch.device) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the pictures that are there, group by group: their rows, and their vectors (R, N, W).

    Args:
        column: (R, N, W), or (R, W) for one vector each; NaN where there is no picture.
        device: of the model.

    Example:
        >>> column = np.array([[1.0], [np.nan], [2.0]], dtype=np.float32)
        >>> [(rows, memory.shape) for rows, memory in memories(column, torch.device("cpu"))]
        [([0, 2], torch.Size([2, 1, 1]))]
    """
    there = np.flatnonzero(~np.isnan(column.reshape(len(column), -1)).any(axis=1)).tolist()
    for first in range(0, len(there), _ROWS):
        rows = there[first : first + _ROWS]
        memory = torch.from_numpy(np.ascontiguousarray(column[rows])).to(device)
        yield rows, memory if memory.dim() == 3 else memory[:, None]


@dataclass(frozen=True)
class Writer:
    """A text decoder with the model that it belongs to and its tokenizer.

    Attributes:
        head: the generator.
        words: the tokenizer.
        tower: the text tower, where the generator stands on its tokens.
        device: of the model.
    """

    head: Speaker
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
        if not isinstance(generator, Speaker):
            raise ConfigError(
                f"The head {head!r} is a {type(generator).__name__} and writes nothing: name a generator."
            )
        if not isinstance(words, SpeakingTokenizer):
            raise ConfigError(
                f"The tokenizer {type(words).__name__} has no start_id, stop_id and decode, so nothing can be written: "
                f"use clinical_wordpiece or transformers."
            )
        made = words(["effusion"])
        read = made.ids[0][made.mask[0]].tolist()
        if read[:1] + read[-1:] != [words.start_id, words.stop_id]:  # as of language models
            raise ConfigError(
                "The tokenizer puts no first and last token around texts, so that nothing learns where they begin and "
                "end: set its add_bos_token and add_eos_token to True, and save it again."
            )
        stands = generator.words == "tower"
        assert not stands or isinstance(tower, TextTower)  # the generator was built on it
        own = tower if stands and isinstance(tower, TextTower) else None
        return cls(generator, words, own, next(towers.parameters()).device)

    def write(
        self,
        memory: Tensor,
        *,
        longest: int | None = None,
        after: str = "",
        findings: Tensor | None = None,
        decoding: Decoding | None = None,
        ids: Sequence[str] = (),
    ) -> list[str]:
        """Write from (R, N, W) what follows `after`, the same for each row.

        Args:
            memory: of the pictures.
            longest: most tokens; as many as the tokenizer allows where that is less.
            after: words that are given, such as a question.
            findings: (R, K) that the generator is told, 1 present and 0 absent.
            decoding: how words are chosen; None: the most probable one each.
            ids: of the R pictures, of which draws are a function.
        """
        made = self.words([after])
        given = made.ids[0][made.mask[0]].tolist()[:-1] if after else [self.words.start_id]
        room = self.words.max_length - len(given)
        if made.truncated or room < 1:
            raise ConfigError(f"{after!r} leaves no room for an answer: raise tokenizer.max_length.")
        start = torch.tensor([given], device=self.device).expand(len(memory), -1)
        stop, tower = self.words.stop_id, None if self.tower is None else self.tower.tokens_of
        longest = min(longest or room, room)
        draws = None if decoding is None or not decoding.drawn else draws_of(ids, longest, seed=decoding.seed)
        written = self.head.write(
            memory,
            None,
            start=start,
            stop=stop,
            longest=longest,
            tower=tower,
            findings=findings,
            decoding=decoding,
            draws=None if draws is None else draws.to(self.device),
        )
        return [self.words.decode([i for i in row if i != stop]) for row in written.tolist()]


def draws_of(ids: Sequence[str], count: int, *, seed: int, name: str = "words") -> Tensor:
    """Return (R, count) draws in [0, 1): each row a function of the seed, the name and its picture's id alone."""
    places = np.array([seed_of(0, 0, each) for each in ids], dtype=np.int64)
    return torch.from_numpy(hashed_uniform(seed, name, count, places))

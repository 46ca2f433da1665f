"""LiMBeR (Merullo et al. 2023): a language model writes from a picture that a linear map puts before the words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
import transformers
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models.heads._language import Language
from medvlp.models.heads._speaker import Speaker, Tower
from medvlp.models.heads.pooler import AttentionPooler


class Limber(Speaker):
    r"""A causal language model whose first words are made of a picture's vectors: a soft prompt.

    p(w_l) = LM(P(v_1), ..., P(v_N), w_1, ..., w_{l-1}), P a linear map from the picture's width to that of word
    embeddings, one prompt word a token (``prompt: tokens``). Of one vector, ``prompt: vector`` makes several words by
    one map, as CLOSE (Gu et al. 2023) and, with ``layers: 2``, CgT-GAN (Yu et al. 2023) do; with ``prompt: queries`` as
    many learned queries look at the vectors first, as in MacCap (Qiu et al. 2024), with ``layers: 3``. The language
    model is held by ``trainable: ["model.heads.captioner.*", "!model.heads.captioner.language.*"]``, and its dropout is
    always off. The text tower's tokenizer must be the language model's: ``tokenizer: {name: transformers, path: ...}``.

    Args:
        path: folder of a causal language model of transformers, or its name; weights as safetensors only.
        config: instead of `path`: ``{model_type: gpt2, n_embd: 64, ...}``, for random weights.
        reads: part of the picture that is written from.
        prompt: how its vectors become words.
        length: words of the prompt, with ``vector`` and ``queries``.
        layers: linear layers of the map, with tanh between them.
        hidden: width between them; None: half of what the map gives.
        heads: of the queries' attention; divides the width of what is read.
        dropout: of the prompt; the paper's is 0.1.

    Raises:
        ConfigError: as `Language`; and for several vectors with ``prompt: vector``.
        UserError: if the language model cannot be read.

    References:
        Merullo et al. 2023, section 3. CLOSE's T5 is an encoder and decoder; here any causal model takes its place. The
        tanh is ClipCap's (Mokady et al. 2021) and CgT-GAN's; MacCap's code has ReLU, and its queries look at each other
        before they look at the vectors.

    Note:
        A language model knows what reports are like and goes on fluently where the prompt tells it nothing: what it
        adds beyond the picture is its prior, so judge it beside the best constant report.

    Example:
        >>> small = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2}
        >>> head = Limber(memory_width=6, vocab_size=10, config=small)
        >>> head.forward_logits(torch.rand(2, 5, 6), None, torch.zeros(2, 3, dtype=torch.int64)).shape
        torch.Size([2, 3, 10])
    """

    def __init__(
        self,
        *,
        memory_width: Annotated[int, FromModel("width")],
        vocab_size: Annotated[int, FromModel("vocab_size")],
        path: str | None = None,
        config: Mapping[str, Any] | None = None,
        reads: str = "tokens",
        prompt: Literal["tokens", "vector", "queries"] = "tokens",
        length: Annotated[int, Field(ge=2)] = 4,
        layers: Annotated[int, Field(ge=1)] = 1,
        hidden: Annotated[int, Field(ge=1)] | None = None,
        heads: Annotated[int, Field(ge=1)] = 4,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.reads = (reads, "mask") if reads == "tokens" else (reads,)
        self.prompt, self.length = prompt, length
        self.language = Language(path=path, config=config, vocab_size=vocab_size)
        asks = prompt == "queries"
        self.asked = AttentionPooler(token_width=memory_width, queries=length, heads=heads) if asks else None
        given = self.language.words.weight.shape[1] * (length if prompt == "vector" else 1)
        widths = [memory_width, *[hidden or max(given // 2, 1)] * (layers - 1), given]
        maps = [nn.Linear(a, b) for a, b in pairwise(widths)]
        self.map = nn.Sequential(*[part for each in maps for part in (each, nn.Tanh())][:-1], nn.Dropout(dropout))

    def forward_logits(
        self, memory: Tensor, mask: Tensor | None, words: Tensor, findings: Tensor | None = None
    ) -> Tensor:
        """Return logits (R, L, V) of what follows words (R, L), from (R, N, W); see `Speaker`."""
        before, real = self.prompted(memory, mask)
        read = torch.cat([before, self.language.words(words).to(before.dtype)], dim=1)
        return self.language(read, _with_words(real, words))[:, before.shape[1] :]

    def prompted(self, memory: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the prompt (R, P, E) of the vectors (R, N, W), and where it is real."""
        if self.prompt == "vector":
            if memory.shape[1] != 1:
                raise ConfigError(f"A prompt of a vector was given {memory.shape[1]} of a picture: set prompt: tokens.")
            return self.map(memory[:, 0]).unflatten(1, (self.length, -1)), None
        if self.asked is None:
            return self.map(memory), mask
        every = torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device) if mask is None else mask
        rows = Encoded(owner=torch.arange(len(memory), device=memory.device), tokens=memory, mask=every)
        return self.map(self.asked(rows, "asked")["asked"]), None

    def steps(self, memory: Tensor, mask: Tensor | None, tower: Tower | None, findings: Tensor | None) -> _Steps:
        """See `Speaker`: transformers keeps keys and values."""
        return _Steps(self, *self.prompted(memory, mask), past=transformers.DynamicCache())

    def released(self) -> Mapping[str, object]:
        """See `Head`: the language model's configuration in full."""
        return {"path": None, "config": self.language.released()}


@dataclass
class _Steps:
    """Rows of words that a language model writes after its prompt."""

    head: Limber
    before: Tensor
    real: Tensor | None
    past: Any
    at: int = 0

    def next(self, ids: Tensor) -> Tensor:
        """See `Steps`."""
        words = self.head.language.words(ids[:, self.at :]).to(self.before.dtype)
        read = words if self.at else torch.cat([self.before, words], dim=1)
        self.at = ids.shape[1]
        return self.head.language(read, _with_words(self.real, ids), self.past)[:, -1]

    def pick(self, rows: Tensor) -> None:
        """See `Steps`."""
        self.before, self.real = self.before[rows], None if self.real is None else self.real[rows]
        self.past.reorder_cache(rows)


def _with_words(real: Tensor | None, words: Tensor) -> Tensor | None:
    """Return where prompt and words are real, (R, P + L); None: everywhere."""
    return None if real is None else torch.cat([real, torch.ones_like(words, dtype=torch.bool)], dim=1)

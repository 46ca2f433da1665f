"""Image tokens -> words, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import BlockPast, CrossBlock, embeddings_of
from medvlp.models.heads._speaker import Speaker, Tower


class Generator(Speaker):
    """A causal transformer decoder: each position sees the words up to itself and all real tokens of the image.

    Called by an objective (stage ``call``), as it needs the words of the report too. With ``words: own`` it embeds the
    words, and the output layer has the same weights (Press and Wolf 2017). With ``words: tower`` it stands on the
    tokens of a causal text tower, as the multimodal half of CoCa's decoder (Yu et al. 2022). With `findings` it can
    be told of each whether it is present or absent (PromptMRG, Jin et al. 2024): a learned vector stands among the
    picture's.

    Args:
        reads: part of the image that is written from: its tokens, or a pooler's vectors.
        words: ``own`` or ``tower``.
        width: of the decoder; None: that of the text tower with ``words: tower``, which it must be, else 192.
        layers: number of blocks.
        heads: attention heads; divides the width.
        mlp_ratio: width of the blocks' hidden layer over the width.
        dropout: of each residual branch.
        max_length: longest sequence of own words; a text tower has its own limit.
        findings: K, how many findings it can be told.

    Raises:
        ConfigError: if `heads` does not divide the width; with ``words: tower``, if there is no causal text tower,
            or its width is another.

    Example:
        >>> head = Generator(memory_width=8, vocab_size=10, width=8, layers=1, heads=2)
        >>> tokens, mask = torch.rand(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
        >>> head.forward_logits(tokens, mask, torch.zeros(2, 3, dtype=torch.int64)).shape
        torch.Size([2, 3, 10])
    """

    def __init__(
        self,
        *,
        memory_width: Annotated[int, FromModel("width")],
        vocab_size: Annotated[int, FromModel("vocab_size")],
        text: Annotated[Encoder | None, FromModel("text")] = None,
        reads: str = "tokens",
        words: Literal["own", "tower"] = "own",
        width: Annotated[int, Field(ge=1)] | None = None,
        layers: Annotated[int, Field(ge=1)] = 3,
        heads: Annotated[int, Field(ge=1)] = 4,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        max_length: Annotated[int, Field(ge=1)] = 512,
        findings: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        width = _width_on(text, width) if words == "tower" else width or 192
        self.reads = (reads, "mask") if reads == "tokens" else (reads,)
        self.words = words
        if words == "own":
            self.word, self.position = embeddings_of(vocab_size, width=width, length=max_length)
        else:
            self.output = nn.Linear(width, vocab_size, bias=False)
            nn.init.normal_(self.output.weight, std=0.02)
        self.norm_image = nn.LayerNorm(memory_width)
        self.blocks = nn.ModuleList(
            CrossBlock(
                width=width, context_width=memory_width, heads=heads, mlp_ratio=mlp_ratio, dropout=dropout, causal=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.states = nn.Parameter(torch.empty(findings, 2, memory_width)) if findings else None
        if self.states is not None:
            nn.init.normal_(self.states)  # as long as the picture's vectors, which are normalised

    def forward_logits(
        self, memory: Tensor, mask: Tensor | None, words: Tensor, findings: Tensor | None = None
    ) -> Tensor:
        """Return logits (R, L, V): those at position l are of the word that follows ``words[:, l]``.

        Args:
            memory: (R, N, W) of the image.
            mask: (R, N) bool, True where the memory is real; None: all of it is.
            words: (R, L) int64 ids, padding last; with ``words: tower`` the text tower's tokens (R, L, W).
            findings: (R, K), what it is told: 1 present, 0 absent, NaN or negative unknown; None: nothing.

        Raises:
            ConfigError: if L is more than `max_length`, or it cannot be told K findings.
        """
        return self._decode(*self._seen(memory, mask, findings), words, first=0, past=None)

    def steps(self, memory: Tensor, mask: Tensor | None, tower: Tower | None, findings: Tensor | None) -> _Steps:
        """See `Speaker`: keys and values of the words so far are kept."""
        return _Steps(self, *self._seen(memory, mask, findings), tower)

    def _seen(self, memory: Tensor, mask: Tensor | None, findings: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return what the words look at: the picture's vectors, and those of the findings that are told."""
        image = self.norm_image(memory)
        if findings is None:
            return image, mask
        if self.states is None or findings.shape[1] != len(self.states):
            raise ConfigError(
                f"This generator can be told {0 if self.states is None else len(self.states)} findings and was told "
                f"{findings.shape[1]}: set its option findings."
            )
        known = torch.where((findings > 0)[..., None], self.states[:, 1], self.states[:, 0])
        real = torch.ones(image.shape[:2], dtype=torch.bool, device=image.device) if mask is None else mask
        return torch.cat([image, known.to(image.dtype)], dim=1), torch.cat([real, findings >= 0], dim=1)

    def _decode(
        self, image: Tensor, mask: Tensor | None, words: Tensor, *, first: int, past: list[BlockPast] | None
    ) -> Tensor:
        """Return the logits of `words`, the first of which stands at position `first`."""
        if self.words == "own":
            self.refuse_too_long(first + words.shape[1])
            words = self.word(words) + self.position[first : first + words.shape[1]]
        for i, block in enumerate(self.blocks):
            words = block(words, image, mask, past=None if past is None else past[i])
        return self.norm(words) @ (self.word if self.words == "own" else self.output).weight.T

    def refuse_too_long(self, length: int) -> None:
        """See `Speaker`; a text tower has a limit of its own."""
        if self.words == "own" and length > self.position.shape[0]:
            raise ConfigError(
                f"The generator writes at most {self.position.shape[0]} words and was given {length}: raise its "
                f"max_length, or lower the tokenizer's."
            )


@dataclass
class _Steps:
    """Rows of words that a generator writes."""

    head: Generator
    image: Tensor
    mask: Tensor | None
    tower: Tower | None
    past: list[BlockPast] = field(default_factory=list)
    at: int = 0

    def next(self, ids: Tensor) -> Tensor:
        """See `Steps`."""
        self.past = self.past or [BlockPast() for _ in self.head.blocks]
        new = (ids if self.tower is None else self.tower(ids))[:, self.at :]
        logits = self.head._decode(self.image, self.mask, new, first=self.at, past=self.past)
        self.at = ids.shape[1]
        return logits[:, -1]

    def pick(self, rows: Tensor) -> None:
        """See `Steps`."""
        self.image, self.mask = self.image[rows], None if self.mask is None else self.mask[rows]
        for made in (each for block in self.past for each in (block.words, block.image)):
            if made.keys is not None and made.values is not None:
                made.keys, made.values = made.keys[rows], made.values[rows]


def _width_on(text: Encoder | None, width: int | None) -> int:
    """Return the width of a decoder that stands on a text tower's tokens."""
    if text is None or not text.causal:
        raise ConfigError(
            "A generator with words: tower needs a text tower that no later word is seen by: set model.text.causal to "
            "true, or words to own."
        )
    if width is not None and width != text.token_width:
        raise ConfigError(
            f"A generator on the text tower's tokens is as wide as they are: set its width to {text.token_width}, not "
            f"{width}."
        )
    return text.token_width

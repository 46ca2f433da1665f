"""Image tokens -> words, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import Attention, CrossAttention, mlp

__all__ = ["Generator"]


class Generator(Head):
    """A causal transformer decoder: each position sees the words up to itself and all real image tokens.

    Called by an objective (stage ``call``), because it needs the words of the report beside the tokens of the image.
    Word embeddings and the output layer share their weights (Press and Wolf 2017).

    Args:
        token_width: W of the image tokens, given by the builder.
        vocab_size: V, given by the builder.
        width: of the decoder.
        layers: number of blocks.
        heads: attention heads; divides the width.
        mlp_ratio: width of the blocks' hidden layer over the width.
        dropout: of each residual branch.
        max_length: longest sequence of words.

    Raises:
        ConfigError: if `heads` does not divide the width.

    Example:
        >>> head = Generator(token_width=8, vocab_size=10, width=8, layers=1, heads=2)
        >>> tokens, mask = torch.rand(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
        >>> head.forward_logits(tokens, mask, torch.zeros(2, 3, dtype=torch.int64)).shape
        torch.Size([2, 3, 10])
    """

    reads = ("tokens", "mask")
    stage = "call"

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        vocab_size: Annotated[int, FromModel("vocab_size")],
        width: Annotated[int, Field(ge=1)] = 192,
        layers: Annotated[int, Field(ge=1)] = 3,
        heads: Annotated[int, Field(ge=1)] = 4,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        max_length: Annotated[int, Field(ge=1)] = 512,
    ) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab_size, width)
        self.position = nn.Parameter(torch.empty(max_length, width))
        nn.init.normal_(self.word.weight, std=0.02)
        nn.init.normal_(self.position, std=0.01)
        self.norm_image = nn.LayerNorm(token_width)
        self.blocks = nn.ModuleList(
            _DecoderBlock(width=width, context_width=token_width, heads=heads, mlp_ratio=mlp_ratio, dropout=dropout)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward_logits(self, tokens: Tensor, token_mask: Tensor | None, ids: Tensor) -> Tensor:
        """Return logits (R, L, V): those at position l are of the word that follows ``ids[:, l]``.

        Args:
            tokens: (R, N, W) of the image.
            token_mask: (R, N) bool, True on real tokens; None: all are.
            ids: (R, L) int64; padding comes last, and what is predicted there is for the caller to leave out.

        Raises:
            ConfigError: if L is more than `max_length`.
        """
        if ids.shape[1] > self.position.shape[0]:
            raise ConfigError(
                f"The generator writes at most {self.position.shape[0]} words and was given {ids.shape[1]}: raise its "
                f"max_length, or lower the tokenizer's."
            )
        words = self.word(ids) + self.position[: ids.shape[1]]
        image = self.norm_image(tokens)
        for block in self.blocks:
            words = block(words, image, token_mask)
        return self.norm(words) @ self.word.weight.T

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, L, V)} for rows that hold both tokens and ``ids``."""
        logits = self.forward_logits(encoded.part("tokens"), encoded.part("mask"), encoded.part("ids"))
        return {name: logits}


class _DecoderBlock(nn.Module):
    def __init__(self, *, width: int, context_width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm_words = nn.LayerNorm(width)
        self.words = Attention(width=width, heads=heads, causal=True)
        self.norm_image = nn.LayerNorm(width)
        self.image = CrossAttention(width=width, context_width=context_width, heads=heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = mlp(width, mlp_ratio)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor, image: Tensor, mask: Tensor | None) -> Tensor:
        """Return (R, L, W)."""
        words = words + self.dropout(self.words(self.norm_words(words), None))
        words = words + self.dropout(self.image(self.norm_image(words), image, mask))
        return words + self.dropout(self.mlp(self.norm_mlp(words)))

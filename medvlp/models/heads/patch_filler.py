"""Tokens of a picture with hidden patches, and its report -> the pixels of each patch."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

from medvlp.core.protocols import Encoder, Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import CrossBlock, refuse_heads


class PatchFiller(Head):
    """An image decoder that looks at words: hidden tokens give way to a learned one, all get their place.

    Blocks of self-attention over the picture's tokens and cross-attention to the text's, then a linear map to S x S
    gray pixels a patch; at stage ``call``.

    Args:
        side: S, to which a patch is brought, whatever its size.
        layers: blocks.
        heads: of their attention; divides the width of tokens.

    Raises:
        ConfigError: if `heads` does not divide the width.

    References:
        He et al. 2022 (masked autoencoders), the decoder and its fixed places; Ma et al. 2024 (SyCoCa), that it looks
        at the text.

    Example:
        >>> from medvlp.models.encoders.transformer import TextTransformer
        >>> from medvlp.text.wordpiece import train_wordpiece
        >>> words = train_wordpiece(["left effusion"] * 2, vocab_size=100, max_length=16)
        >>> head = PatchFiller(token_width=8, text=TextTransformer(words=words, width=4, heads=2), side=2, heads=2)
        >>> nowhere, real = torch.zeros(1, 6) > 0, torch.ones(1, 5) > 0
        >>> head.pixels(torch.rand(1, 6, 8), nowhere, (2, 3), torch.rand(1, 5, 4), real).shape
        torch.Size([1, 6, 4])
    """

    reads = ()
    stage = "call"

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        text: Annotated[Encoder, FromModel("text")],
        side: Annotated[int, Field(ge=1)] = 8,
        layers: Annotated[int, Field(ge=1)] = 2,
        heads: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__()
        refuse_heads(heads, token_width)
        self.hidden = nn.Parameter(torch.zeros(token_width))
        sizes = {"width": token_width, "context_width": text.token_width, "heads": heads}
        self.norm_words = nn.LayerNorm(text.token_width)
        self.blocks = nn.ModuleList(
            CrossBlock(**sizes, mlp_ratio=4.0, dropout=0.0, causal=False) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(token_width)
        self.output = nn.Linear(token_width, side * side)

    def pixels(self, tokens: Tensor, hidden: Tensor, grid: tuple[int, ...], words: Tensor, mask: Tensor) -> Tensor:
        """Return (R, N, S * S).

        Args:
            tokens: (R, N, W) of the picture with holes.
            hidden: (R, N) bool, where the holes are.
            grid: (rows, columns), N cells.
            words: (R, L, W') of its text.
            mask: (R, L), where they are real.
        """
        width = -(-tokens.shape[2] // 4) * 4
        place = build_sincos2d_pos_embed(list(grid), dim=width).to(tokens)[:, : tokens.shape[2]]
        states = torch.where(hidden[:, :, None], self.hidden.to(tokens.dtype), tokens) + place
        for block in self.blocks:
            states = block(states, self.norm_words(words), mask)
        return self.output(self.norm(states))

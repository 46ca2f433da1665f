"""A transformer block over words that also looks at a picture."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from medvlp.models.encoders._blocks import Attention, CrossAttention, KeyValues, mlp


@dataclass
class BlockPast:
    """What a block keeps while words are written one by one."""

    words: KeyValues = field(default_factory=KeyValues)
    image: KeyValues = field(default_factory=KeyValues)


class CrossBlock(nn.Module):
    """Words look at each other, then at the picture, then for themselves; each a residual branch with a norm before it.

    Args:
        width: of the words.
        context_width: of the picture's vectors.
        heads: of both attentions; divides the width.
        mlp_ratio: width of the hidden layer over the width.
        dropout: of each residual branch.
        causal: no word sees a later one.
    """

    def __init__(
        self, *, width: int, context_width: int, heads: int, mlp_ratio: float, dropout: float, causal: bool
    ) -> None:
        super().__init__()
        self.norm_words = nn.LayerNorm(width)
        self.words = Attention(width=width, heads=heads, causal=causal)
        self.norm_image = nn.LayerNorm(width)
        self.image = CrossAttention(width=width, context_width=context_width, heads=heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = mlp(width, mlp_ratio)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        words: Tensor,
        image: Tensor,
        mask: Tensor | None,
        *,
        word_mask: Tensor | None = None,
        past: BlockPast | None = None,
    ) -> Tensor:
        """Return (R, L, W) of words (R, L, W) that look at `image` (R, N, W').

        `mask` (R, N) and `word_mask` (R, L) are True where both are real; a causal block needs no `word_mask`, as
        padding comes last. `past` is what words before these left, see `Attention`.
        """
        before, seen = (None, None) if past is None else (past.words, past.image)
        words = words + self.dropout(self.words(self.norm_words(words), word_mask, before))
        words = words + self.dropout(self.image(self.norm_image(words), image, mask, seen))
        return words + self.dropout(self.mlp(self.norm_mlp(words)))

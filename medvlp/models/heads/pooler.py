"""Tokens -> a few vectors, by attention of learned queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import CrossAttention, mlp


class AttentionPooler(Head):
    """Q learned queries attend to the real tokens: (R, N, W) -> (R, Q, W'), or (R, W') for one query.

    The attentional pooler of CoCa (Yu et al. 2022) is the cross-attention; ours has residuals and a network behind it,
    with pre-norms.

    Args:
        queries: Q.
        width: W'; None: W.
        heads: attention heads; divides W'.
        mlp_ratio: width of the network's hidden layer over W'.

    Example:
        >>> head = AttentionPooler(token_width=8, queries=3)
        >>> rows = Encoded(owner=torch.arange(2), tokens=torch.rand(2, 5, 8), mask=torch.ones(2, 5, dtype=torch.bool))
        >>> head(rows, "regions")["regions"].shape
        torch.Size([2, 3, 8])
    """

    reads = ("tokens", "mask")

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        queries: Annotated[int, Field(ge=1)] = 1,
        width: Annotated[int, Field(ge=1)] | None = None,
        heads: Annotated[int, Field(ge=1)] = 4,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
    ) -> None:
        super().__init__()
        self.width = width or token_width
        self.queries = nn.Parameter(torch.randn(queries, self.width) * self.width**-0.5)
        self.norm_tokens = nn.LayerNorm(token_width)
        self.norm_queries = nn.LayerNorm(self.width)
        self.attention = CrossAttention(width=self.width, context_width=token_width, heads=heads)
        self.norm_mlp = nn.LayerNorm(self.width)
        self.mlp = mlp(self.width, mlp_ratio)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, Q, W')}, without the axis Q for one query."""
        tokens, mask = encoded.part("tokens"), encoded.part("mask")
        queries = self.queries.expand(tokens.shape[0], -1, -1)
        pooled = queries + self.attention(self.norm_queries(queries), self.norm_tokens(tokens), mask)
        pooled = pooled + self.mlp(self.norm_mlp(pooled))
        return {name: pooled[:, 0] if self.queries.shape[0] == 1 else pooled}

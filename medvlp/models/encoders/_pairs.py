"""Tokens of two pictures compared with each other, place by place, as in BioViL-T (Bannur et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medvlp.models.encoders._blocks import Attention, mlp


class PairLayer(nn.Module):
    """Queries, keys and values all see the place and the order."""

    def __init__(self, width: int, heads: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm, self.norm_mlp = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention, self.mlp = Attention(width=width, heads=heads), mlp(width, ratio)
        self.attention.qkv = nn.Linear(width, 3 * width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, beside: Tensor) -> Tensor:
        tokens = tokens + self.dropout(self.attention(self.norm(tokens) + beside, None))
        return tokens + self.dropout(self.mlp(self.norm_mlp(tokens)))


def sine_places(grid: tuple[int, ...], width: int) -> Tensor:
    """Return (n, width) sines and cosines of rows, then of columns (DETR, Carion et al. 2020), float32.

    Rows are counted from 1 to h and scaled to 2 pi; wavelengths grow from 2 pi to 10,000 times as much.

    Example:
        >>> sine_places((2, 2), 4).round(decimals=2)[0].tolist()  # row 1 of 2 is pi
        [0.0, -1.0, 0.0, -1.0]
    """
    half = width // 2
    speed = 10000.0 ** (2 * (torch.arange(half) // 2) / half)
    found = []
    for count in grid:
        angle = 2 * math.pi * torch.arange(1, count + 1)[:, None] / (count + 1e-6) / speed
        found.append(torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1))
    rows, columns = grid
    return torch.cat([found[0].repeat_interleave(columns, dim=0), found[1].repeat(rows, 1)], dim=1)

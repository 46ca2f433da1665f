"""An encoder: one file, one class that says which kinds it takes, what it gives, and where it can be patched."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Encoder, Site

__all__ = ["MeanPixels"]


class MeanPixels(Encoder):
    """Images (R, 1, H, W) -> a linear map of the means of `tiles` x `tiles` tiles."""

    kinds = ("image",)

    def __init__(self, *, width: int = 16, tiles: int = 4) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(tiles)
        self.output = nn.Linear(tiles * tiles, width)
        self.width = self.token_width = width
        self.offers = frozenset({"pooled"})

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        pooled = self.output(self.pool(values).flatten(1))
        return Encoded(owner=torch.arange(len(values), device=values.device), pooled=pooled)

    def sites(self) -> Mapping[str, Site]:
        return {"pooled.output": Site(self.output, "after")}

    def blank(self, device: torch.device) -> Tensor:
        return torch.zeros(1, 1, 8, 8, device=device)

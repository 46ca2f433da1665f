"""Boxes of a map -> vectors, as a detector's head reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.heads._regions import within


class BoxHead(Head):
    """Tokens as maps (R, W, h, w) and M boxes on them -> (L, M, D), one vector a level of a simple pyramid.

    A level is the map at another size (bilinear, averaged where it shrinks) through a convolution of its own of one
    cell, as the pyramid of ViTDet (Li et al. 2022) is made of the last map alone. A box is read by RoIAlign in S x S
    parts and goes through two linear layers that all levels share.

    Args:
        scales: L, sizes of the levels' maps, in those of the tokens' grid.
        width: channels of the levels.
        size: S.
        hidden: width between the two layers.

    Raises:
        ConfigError: without scales, or if one is not above 0.

    Example:
        >>> head = BoxHead(token_width=8, embed_dim=4, scales=(2.0, 1.0))
        >>> head.forward_boxes(torch.rand(2, 8, 4, 4), torch.tensor([[0.0, 0.0, 0.5, 1.0]]), torch.tensor([1])).shape
        torch.Size([2, 1, 4])
    """

    reads = ("tokens",)
    stage: Literal["tower", "batch", "call"] = "call"

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        scales: Sequence[float] = (1.0,),
        width: Annotated[int, Field(ge=1)] = 128,
        size: Annotated[int, Field(ge=1)] = 2,
        hidden: Annotated[int, Field(ge=1)] = 256,
    ) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ConfigError(f"scales of head 'box_head' are {list(scales)}: give at least one, each above 0.")
        self.scales, self.size, self.width = tuple(scales), size, embed_dim
        self.levels = nn.ModuleList(nn.Conv2d(token_width, width, 1) for _ in scales)
        self.layers = nn.Sequential(nn.Linear(width * size**2, hidden), nn.ReLU(), nn.Linear(hidden, embed_dim))

    def forward_boxes(self, maps: Tensor, boxes: Tensor, row: Tensor) -> Tensor:
        """Return (L, M, D).

        Args:
            maps: (R, W, h, w).
            boxes: (M, 4) x0, y0, x1, y1 in shares of the map's sides.
            row: (M,) the map of each.
        """
        found, wide = [], maps.to(torch.promote_types(maps.dtype, torch.float32))  # half lacks a CPU's antialiasing
        for scale, level in zip(self.scales, self.levels, strict=True):
            grid = [max(1, round(side * scale)) for side in maps.shape[-2:]]
            sized = maps if scale == 1 else F.interpolate(wide, grid, mode="bilinear", antialias=scale < 1).to(maps)
            found.append(self.layers(within(level(sized), boxes, row, size=self.size).flatten(1)))
        return torch.stack(found)

"""A vision transformer over blocks of voxels: M3D-CLIP's tower of volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Site
from medvlp.models.encoders._sites import sites_of
from medvlp.models.encoders._volumes import VolumeTower


class VolumeViT(VolumeTower):
    """Stacks (R, S, 1, H, W) of one size -> tokens (R, N, W) of blocks of voxels; ``pooled`` is the class token.

    ViT (Dosovitskiy et al. 2021) with places learnt for the blocks alone, as MONAI builds it. M3D-CLIP (Bai et al.
    2024) has the sizes that stand here.

    Args:
        size: (S, H, W).
        patch: of a block, along the same axes.
        width: W.
        layers: blocks of the transformer.
        heads: of its attentions; divides the width.
        hidden: width of its networks' hidden layer.
        qkv_bias: whether queries, keys and values have a bias.

    Raises:
        ConfigError: if `patch` does not divide `size`, or stacks are of another.

    Example:
        >>> tower = VolumeViT(size=(8, 32, 32), width=16, layers=1, heads=2, hidden=24).eval()
        >>> rows = tower(torch.rand(1, 8, 1, 32, 32), parts=frozenset({"pooled", "tokens"}))
        >>> rows.pooled.shape, rows.tokens.shape, rows.grid
        (torch.Size([1, 16]), torch.Size([1, 8, 16]), (2, 2, 2))
    """

    name = "volume_vit"

    def __init__(
        self,
        *,
        size: tuple[int, int, int] = (32, 256, 256),
        patch: tuple[int, int, int] = (4, 16, 16),
        width: Annotated[int, Field(ge=1)] = 768,
        layers: Annotated[int, Field(ge=1)] = 12,
        heads: Annotated[int, Field(ge=1)] = 12,
        hidden: Annotated[int, Field(ge=1)] = 3072,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__()
        if any(n % p for n, p in zip(size, patch, strict=True)) or width % heads:
            raise ConfigError(
                f"volume_vit cuts {size} into blocks of {patch} and its width {width} into {heads} heads: let "
                "each divide."
            )
        self.empty, self.wanted = size, f"(R, {size[0]}, 1, {size[1]}, {size[2]})"
        self.grid = tuple(n // p for n, p in zip(size, patch, strict=True))
        self.embed = nn.Conv3d(1, width, patch, stride=patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, self.grid[0] * self.grid[1] * self.grid[2], width) * 0.02)
        ratio = (hidden + 0.5) / width  # timm cuts decimals off
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio=ratio, qkv_bias=qkv_bias, norm_layer=nn.LayerNorm) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.width = self.token_width = width

    def fits(self, values: Tensor) -> bool:
        """See `VolumeTower`."""
        return tuple(values.shape[1:]) == (self.empty[0], 1, *self.empty[1:])

    def cells(self, values: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """See `VolumeTower`."""
        at = self.embed(values.transpose(1, 2)).flatten(2).transpose(1, 2) + self.position
        at = torch.cat([self.cls_token.expand(len(at), -1, -1), at], dim=1)
        for block in self.blocks:
            at = block(at)
        at = self.norm(at)
        return at[:, 0], at[:, 1:], self.grid

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`."""
        return sites_of(list(self.blocks), self.blocks, self.pooled_output)

"""A vision transformer over blocks of voxels: M3D-CLIP's tower of volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Site
from medvlp.models.encoders._sites import block_sites, linear_sites

__all__ = ["VolumeViT"]


class VolumeViT(Encoder):
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
        class_token: whether there is one; without it ``pooled`` is the mean of the tokens.

    Raises:
        ConfigError: if `patch` does not divide `size`, or stacks are of another.

    Example:
        >>> tower = VolumeViT(size=(8, 32, 32), width=16, layers=1, heads=2, hidden=24).eval()
        >>> rows = tower(torch.rand(1, 8, 1, 32, 32), parts=frozenset({"pooled", "tokens"}))
        >>> rows.pooled.shape, rows.tokens.shape, rows.grid
        (torch.Size([1, 16]), torch.Size([1, 8, 16]), (2, 2, 2))
    """

    kinds = ("stack",)

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
        class_token: bool = True,
    ) -> None:
        super().__init__()
        if any(n % p for n, p in zip(size, patch, strict=True)) or width % heads:
            raise ConfigError(
                f"volume_vit cuts {size} into blocks of {patch} and its width {width} into {heads} heads: let "
                "each divide."
            )
        self.size = tuple(size)
        self.grid = tuple(n // p for n, p in zip(size, patch, strict=True))
        self.embed = nn.Conv3d(1, width, patch, stride=patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02) if class_token else None
        self.position = nn.Parameter(torch.randn(1, self.grid[0] * self.grid[1] * self.grid[2], width) * 0.02)
        ratio = (hidden + 0.5) / width  # timm cuts decimals off
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio=ratio, qkv_bias=qkv_bias, norm_layer=nn.LayerNorm) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.pooled_output = nn.Identity()
        self.width = self.token_width = width
        self.offers = frozenset({"pooled", "tokens", "mask"})

    def forward(
        self,
        values: Tensor | Sequence[str],
        *,
        parts: frozenset[str],
        mask: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Encoded:
        """Encode stacks; see `Encoder`."""
        shape = (self.size[0], 1, *self.size[1:])
        if not isinstance(values, Tensor) or values.shape[1:] != shape:
            given = tuple(values.shape) if isinstance(values, Tensor) else "texts"
            raise ConfigError(
                f"The tower volume_vit takes stacks (R, {str(shape)[1:]} and was given {given}: change read_grid."
            )
        at = self.embed(values.transpose(1, 2)).flatten(2).transpose(1, 2) + self.position
        if self.cls_token is not None:
            at = torch.cat([self.cls_token.expand(len(at), -1, -1), at], dim=1)
        for block in self.blocks:
            at = block(at)
        at = self.norm(at)
        tokens = at if self.cls_token is None else at[:, 1:]
        pooled = tokens.mean(dim=1) if self.cls_token is None else at[:, 0]
        return Encoded(
            owner=torch.arange(len(at), device=at.device),
            pooled=self.pooled_output(pooled) if "pooled" in parts else None,
            tokens=tokens if "tokens" in parts else None,
            mask=torch.ones(tokens.shape[:2], dtype=torch.bool, device=at.device),
            grid=self.grid,
        )

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`."""
        own = {"pooled.output": Site(self.pooled_output, "after")}
        return {**block_sites(list(self.blocks)), **linear_sites(self.blocks), **own}

    def blank(self, device: torch.device) -> Tensor:
        """One stack of zeros."""
        return torch.zeros(1, self.size[0], 1, *self.size[1:], device=device)

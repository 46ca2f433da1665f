"""Attention within slabs of a volume, then along its depth, and a codebook: CT-CLIP's tower of volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from timm.layers import GluMlp
from torch import Tensor, nn
from torch.nn.functional import normalize, pad, scaled_dot_product_attention

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Site
from medvlp.models.encoders._sites import sites_of
from medvlp.models.encoders._volumes import VolumeTower

_SHARPNESS = 8.0  # queries and keys have unit length


class CTViT(VolumeTower):
    """Stacks (R, S, 1, H, W) -> tokens (R, N, W) of blocks of voxels, each a vector of a codebook.

    ``pooled`` is their mean over depth, the places side by side. CT-CLIP (Hamamci et al. 2024) has the sizes that stand
    here; its parts are those of Phenaki (Villegas et al. 2023): attention with queries and keys of unit length, places
    as a network's bias on scores (Swin V2, Liu et al. 2022) and as a convolution that sees no later slab, which along
    the depth is given tokens by place as if they were by depth: so the release was trained. It read slices with rows to
    the patient's left: rows and columns change places while it looks, and its map is turned back. A token becomes the
    code of nearest direction, through which gradients pass unchanged; codes stay fixed.

    Args:
        side: H and W; S is any number of slabs.
        slab: slices of a block.
        cell: rows and columns of a block; divides the side.
        width: W.
        layers: blocks within slabs, and along the depth.
        heads: of the attentions.
        head_width: of each.
        hidden: width of the networks' hidden layer.
        codes: vectors of the codebook.

    Raises:
        ConfigError: if `cell` does not divide `side`, or stacks are of another size.

    Example:
        >>> tower = CTViT(side=8, slab=2, cell=4, width=8, layers=(1, 1), heads=2, head_width=4, hidden=6, codes=5)
        >>> rows = tower(torch.rand(1, 6, 1, 8, 8), parts=frozenset({"pooled", "tokens"}))
        >>> rows.pooled.shape, rows.tokens.shape, rows.grid
        (torch.Size([1, 32]), torch.Size([1, 12, 8]), (3, 2, 2))
    """

    name = "ct_vit"
    codes: Tensor

    def __init__(
        self,
        *,
        side: Annotated[int, Field(ge=1)] = 480,
        slab: Annotated[int, Field(ge=1)] = 10,
        cell: Annotated[int, Field(ge=1)] = 20,
        width: Annotated[int, Field(ge=1)] = 512,
        layers: tuple[int, int] = (4, 4),
        heads: Annotated[int, Field(ge=1)] = 8,
        head_width: Annotated[int, Field(ge=1)] = 32,
        hidden: Annotated[int, Field(ge=1)] = 1365,
        codes: Annotated[int, Field(ge=1)] = 8192,
    ) -> None:
        super().__init__()
        if side % cell:
            raise ConfigError(f"ct_vit cuts slices {side} wide into cells of {cell}: let cell divide side.")
        self.side, self.slab, self.cell, self.places = side, slab, cell, side // cell
        voxels = slab * cell * cell
        self.embed = nn.Sequential(nn.LayerNorm(voxels), nn.Linear(voxels, width), nn.LayerNorm(width))
        inner = [nn.Linear(2, width), nn.LeakyReLU(0.1), nn.Linear(width, width), nn.LeakyReLU(0.1)]
        self.bias = nn.Sequential(*inner, nn.Linear(width, heads))
        sizes = {"width": width, "heads": heads, "head_width": head_width, "hidden": hidden}
        self.spatial = nn.ModuleList(_Block(**sizes) for _ in range(layers[0]))
        self.temporal = nn.ModuleList(_Block(**sizes) for _ in range(layers[1]))
        self.spatial_norm, self.temporal_norm = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.register_buffer("codes", normalize(torch.randn(codes, width), dim=-1))
        self.width, self.token_width = self.places**2 * width, width
        self.empty, self.wanted = (slab, side, side), f"(R, S, 1, {side}, {side}) whose slices {slab} divides,"

    def fits(self, values: Tensor) -> bool:
        """See `VolumeTower`."""
        return values.shape[2:] == (1, self.side, self.side) and values.shape[1] % self.slab == 0

    def cells(self, values: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """See `VolumeTower`."""
        at = self.embed(self._blocks(values))
        shape = (len(at), at.shape[1], self.places, self.places)
        bias = self.bias(self._apart(at)).permute(2, 0, 1)
        at = at.flatten(0, 1)
        for block in self.spatial:
            at = block(at, shape, bias)
        at = self.spatial_norm(at).unflatten(0, shape[:2]).transpose(1, 2).flatten(0, 1)
        for block in self.temporal:
            at = block(at, shape, None)
        at = self._coded(self.temporal_norm(at).unflatten(0, (-1, self.places**2)).transpose(1, 2))
        return at.mean(1).flatten(1), at.unflatten(2, shape[2:]).transpose(2, 3).flatten(1, 3), shape[1:]

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`."""
        layers = nn.ModuleDict({"spatial": self.spatial, "temporal": self.temporal})
        return sites_of([], layers, self.pooled_output)

    def _blocks(self, values: Tensor) -> Tensor:
        """Return the voxels of blocks from -1 to 1, (R, T, N, V), N along columns first."""
        at = values[:, :, 0].transpose(2, 3) * 2 - 1
        at = at.unflatten(3, (-1, self.cell)).unflatten(2, (-1, self.cell)).unflatten(1, (-1, self.slab))
        return at.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)

    def _apart(self, like: Tensor) -> Tensor:
        """Return how far places are apart, (N, N, 2), on a logarithmic scale that keeps the sign."""
        line = torch.arange(self.places, device=like.device)
        places = torch.cartesian_prod(line, line)
        apart = (places[:, None] - places[None]).to(like.dtype)
        return apart.sign() * apart.abs().log1p()

    def _coded(self, at: Tensor) -> Tensor:
        with torch.no_grad():  # volume by volume: the release compares 13,824 tokens with 8,192 codes
            codes = normalize(self.codes, dim=-1).T
            nearest = torch.stack([(normalize(each, dim=-1) @ codes).argmax(dim=-1) for each in at])
        return self.codes[nearest].to(at.dtype) + (at - at.detach())


class _Block(nn.Module):
    def __init__(self, *, width: int, heads: int, head_width: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.near = nn.Conv3d(width, width, 3, groups=width)
        self.norm = nn.LayerNorm(width, bias=False)
        self.q = nn.Linear(width, heads * head_width, bias=False)
        self.kv = nn.Linear(width, 2 * heads * head_width, bias=False)
        self.q_scale, self.k_scale = nn.Parameter(torch.ones(head_width)), nn.Parameter(torch.ones(head_width))
        self.out = nn.Linear(heads * head_width, width, bias=False)
        gated = GluMlp(width, 2 * hidden, act_layer=nn.GELU, bias=False)
        self.mlp = nn.Sequential(nn.LayerNorm(width), gated)

    def forward(self, at: Tensor, shape: tuple[int, ...], bias: Tensor | None) -> Tensor:
        cells = pad(at.reshape(*shape, -1).movedim(-1, 1), (1, 1, 1, 1, 2, 0))
        at = at + self.near(cells).movedim(1, -1).reshape(at.shape)
        # Keys and values are of what was not normalised.
        q, k, v = (
            each.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for each in (self.q(self.norm(at)), *self.kv(at).chunk(2, dim=-1))
        )
        q, k = normalize(q, dim=-1) * self.q_scale, normalize(k, dim=-1) * self.k_scale
        seen = scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=_SHARPNESS)
        at = at + self.out(seen.transpose(1, 2).flatten(2))
        return at + self.mlp(at)

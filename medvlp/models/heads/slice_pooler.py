"""Slices of a volume -> one vector: attention over slices by their place in millimetres, then pooling.

In the spirit of RadCLIP's adapter V = MHSA(I + PE(P)) (Lu et al. 2024, arXiv 2403.09948), whose code and sizes were not
released; at the start it is the pooling alone, and attention is learned from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import Attention, mlp, zeroed
from medvlp.models.heads._slice_pools import POOLS, Pool, uniform

_EPS = 1e-6


class SlicePooler(Head):
    """(R, S, W) slices at (R, S, 3) mm -> (R, W), and the weight of each slice (R, S) as ``NAME_weights``.

    With I the slices, P their places, and LN a layer norm::

        H = LN(I + a PE(P))        a: root mean square of the row's slices, so that places weigh the same for any tower
        Y = I + MHSA(H) W          W starts as zeros
        V = pool(Y)

    and so on for each further layer; with `mlp_ratio` a network follows each attention, its last layer zeros too.
    A slice's place is its coordinate along the axis on which the row's slices are farthest apart, from 0 to 1: it
    depends neither on spacing, nor on the number or order of slices.

    Args:
        reads: part with the slices.
        layers: self-attention layers; 0: pooling alone.
        heads: of the attention; divides W.
        mlp_ratio: width of each layer's network over W; 0: none.
        place: ``sinusoidal`` (of the normalised place), ``learned`` (a table over it, interpolated) or ``none``.
        pool: ``mean``, ``max``, ``middle`` (the slice nearest to the middle), ``cls`` (a token that starts as the mean
            and takes part in the attention), ``attention`` (the mean asks, multi-head, as in COLIPRI), or ``gated``
            (Ilse et al. 2018, eq. 9). Weights of ``max`` are the share of channels that a slice gives.

    Raises:
        ConfigError: if `heads` does not divide the width, or ``cls`` has no layer to take part in.

    Example:
        >>> head = SlicePooler(width=8, heads=2)
        >>> slices, place = torch.rand(1, 3, 8), torch.tensor([[[0.0, 0, 0], [0, 0, 5], [0, 0, 10]]])
        >>> mask = torch.ones(1, 3, dtype=torch.bool)
        >>> rows = Encoded(owner=torch.arange(1), tokens=slices, mask=mask, position=place)
        >>> torch.allclose(head(rows, "volume")["volume"], slices.mean(1))
        True
    """

    gives = ("weights",)

    def __init__(
        self,
        *,
        width: Annotated[int, FromModel("width")],
        reads: str = "tokens",
        layers: Annotated[int, Field(ge=0)] = 1,
        heads: Annotated[int, Field(ge=1)] = 8,
        mlp_ratio: Annotated[float, Field(ge=0)] = 0.0,
        place: Literal["sinusoidal", "learned", "none"] = "sinusoidal",
        pool: Literal["mean", "max", "middle", "cls", "attention", "gated"] = "mean",
    ) -> None:
        super().__init__()
        if pool == "cls" and layers == 0:
            raise ConfigError("A slice pooler with pool 'cls' needs a layer for its token: set layers to 1 or more.")
        self.reads = (reads, "mask", "position")
        self.width = width
        self.layers = nn.ModuleList(_Layer(width, heads, mlp_ratio) for _ in range(layers))
        self.place = _Places(width, place) if layers and place != "none" else None
        self.token = nn.Parameter(torch.zeros(width)) if pool == "cls" else None
        self.pool: Pool = POOLS[pool](width, heads)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, W), name_weights: (R, S)}."""
        slices, mask = encoded.part(self.reads[0]), encoded.part("mask")
        # In float32 at least: bfloat16 tells no two of the places between 1024 and 1032 mm apart.
        along = _along(encoded.part("position").to(torch.promote_types(slices.dtype, torch.float32)), mask)
        places = None if self.place is None else (_rms(slices, mask) * self.place(along)).to(slices.dtype)
        if self.token is not None:
            slices = torch.cat(
                [slices, (torch.einsum("rs,rsw->rw", uniform(mask, slices.dtype), slices) + self.token)[:, None]], dim=1
            )
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            places = None if places is None else torch.cat([places, torch.zeros_like(places[:, :1])], dim=1)
        weights = None
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            if self.token is not None and layer is self.layers[-1]:
                weights = layer.weights(slices, places, mask)[:, -1, :-1]
            slices = layer(slices, places, mask)
        if weights is not None:
            return {name: slices[:, -1], f"{name}_weights": weights / weights.sum(1, keepdim=True).clamp_min(_EPS)}
        pooled, weights = self.pool(slices, mask, along)
        return {name: pooled, f"{name}_weights": weights}


class _Layer(nn.Module):
    """I + MHSA(LN(I + places)) and, where asked for, I + MLP(LN(I)); both branches start as zeros."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads)
        zeroed(self.attention.output)
        self.norm_mlp = nn.LayerNorm(width) if mlp_ratio else None
        self.mlp = mlp(width, mlp_ratio) if mlp_ratio else None
        if self.mlp is not None:
            zeroed(self.mlp[-1])  # pyrefly: ignore

    def forward(self, slices: Tensor, places: Tensor | None, mask: Tensor) -> Tensor:
        slices = slices + self.attention(self._placed(slices, places), mask)
        if self.mlp is not None and self.norm_mlp is not None:
            slices = slices + self.mlp(self.norm_mlp(slices))
        return slices

    def weights(self, slices: Tensor, places: Tensor | None, mask: Tensor) -> Tensor:
        """Return (R, S, S), of each slice over all."""
        return self.attention.weights(self._placed(slices, places), mask)

    def _placed(self, slices: Tensor, places: Tensor | None) -> Tensor:
        return self.norm(slices if places is None else slices + places)


class _Places(nn.Module):
    """Places in [0, 1] -> (R, S, W) of unit root mean square."""

    bins = 64

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.width = width
        self.table = nn.Parameter(torch.randn(self.bins, width)) if kind == "learned" else None

    def forward(self, along: Tensor) -> Tensor:
        if self.table is not None:
            place = along.clamp(0, 1) * (self.bins - 1)
            low = place.floor().long().clamp(max=self.bins - 2)
            share = (place - low)[..., None]
            return self.table[low] * (1 - share) + self.table[low + 1] * share
        half = -(-self.width // 2)
        # Wavelengths from twice the length of the volume to a hundredth of it.
        steps = torch.linspace(0, math.log(200), half, device=along.device, dtype=torch.float32)
        angle = along.float()[..., None] * (math.pi * steps.exp())
        waves = torch.cat([angle.sin(), angle.cos()], dim=-1)[..., : self.width]
        return (waves * math.sqrt(2)).to(along.dtype)


def _along(position: Tensor, mask: Tensor) -> Tensor:
    """Return (R, S), the place of each slice between the two ends; zeros where all lie at one place."""
    far = torch.finfo(position.dtype).max
    low = position.masked_fill(~mask[..., None], far).amin(1)
    high = position.masked_fill(~mask[..., None], -far).amax(1)
    reach = high - low
    axis = reach.argmax(1)
    rows = torch.arange(len(axis), device=axis.device)
    values = position[rows, :, axis] - low[rows, axis, None]
    return values / reach[rows, axis, None].clamp_min(_EPS)


def _rms(slices: Tensor, mask: Tensor) -> Tensor:
    """Return (R, 1, 1), without gradient."""
    squares = slices.detach().float().square().mean(-1) * mask
    mean = squares.sum(1) / mask.sum(1).clamp_min(1)
    return mean.clamp_min(_EPS).sqrt()[:, None, None].to(slices.dtype)

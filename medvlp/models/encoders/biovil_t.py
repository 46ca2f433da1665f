"""BioViL-T's image model (Bannur et al. 2023): a picture, and how it differs from the patient's earlier one."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import Attention, mlp, refuse_heads
from medvlp.models.encoders.slices import SliceEncoder, unpacked


class BioVilT(SliceEncoder):
    r"""Stacks (R, 2, C, H, W) of the current picture and the prior -> tokens (R, n, 2 W); `pooled` is their mean.

    A token is that of a place, [p, d]: p what the current picture shows there, d how that differs from the prior. With
    c and b (n, W) the tokens that one tower and one linear map make of both, s sines of the place, k_0 and k_1 learnt
    for current and prior, and LN a layer norm, p is c and d the first n tokens of ::

        x = [c, b];  then in each layer  x <- x + MHA(LN x + s + k);  x <- x + MLP(LN x);  at last LN x

    Without a prior (its frame is masked, or the stack has one) d is a learnt vector at every place, and the layers are
    not run. Project the tokens, then average: a head ``{name: projection, reads: tokens, mean: true}``.

    Args:
        slice: component of `models/encoders` for images whose tokens form a grid.
        width: W, a multiple of 4.
        layers: of the comparison.
        heads: of its attention; divides W.
        mlp_ratio: width of its networks' hidden layer over W.
        dropout: of its branches; 0.1 and a stochastic depth of 0.25 in the release, which is left out.

    Raises:
        ConfigError: for sizes that do not fit, or a stack of more than two frames.

    References:
        Bannur et al. 2023 (BioViL-T, CVPR), section 3.1, with the sizes of the released weights. The paper says that
        both may be of other views; `group: {keep: prior}` of the data pairs like with like.

    Note:
        Whatever stands in the second place is used as the earlier one: a later film there turns "improved" into
        "worse". Films are not registered, so a change of pose or inspiration is a difference too; and that a patient
        new to the hospital has no prior is itself a clue to which the model may hold.

    Example:
        >>> vit = {"name": "timm", "architecture": "resnet10t", "image_size": 64}
        >>> tower = BioVilT(slice=vit, width=16, layers=1, heads=2).eval()
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> rows = tower(torch.rand(2, 2, 1, 64, 64), parts=frozenset({"tokens", "pooled"}), mask=mask)
        >>> rows.tokens.shape, rows.grid, torch.equal(rows.tokens[1, 0, 16:], tower.missing)
        (torch.Size([2, 4, 32]), (2, 2), True)
    """

    offers = frozenset({"pooled", "tokens", "mask"})

    def __init__(
        self,
        *,
        slice: dict[str, Any],
        width: Annotated[int, Field(ge=4, multiple_of=4)] = 256,
        layers: Annotated[int, Field(ge=1)] = 3,
        heads: Annotated[int, Field(ge=1)] = 8,
        mlp_ratio: Annotated[float, Field(gt=0)] = 1.0,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        seed: Annotated[int, FromModel("seed")] = 0,
        where: Annotated[str, FromModel("where")] = "model.vision",
    ) -> None:
        refuse_heads(heads, width, of="biovil_t")
        super().__init__(slice=slice, seed=seed, where=where)
        self.levels, self.offers = (), BioVilT.offers  # both pictures in one: maps of a single one are not offered
        self.to_tokens = nn.Linear(self.slice.token_width, width, bias=False)
        self.missing = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
        self.order = nn.Parameter(nn.init.trunc_normal_(torch.empty(2, width), std=0.02))
        self.layers = nn.ModuleList(PairLayer(width, heads, mlp_ratio, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.width = self.token_width = 2 * width

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode pairs; see `Encoder`."""
        if values.dim() != 5 or values.shape[1] > 2:
            raise ConfigError(
                f"biovil_t takes stacks of the current picture and, second, its prior, not {tuple(values.shape)}: let "
                "group: {keep: prior} of the data make them."
            )
        real = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device) if mask is None else mask
        rows = self.slice(values[real], parts=frozenset({"tokens"}))
        tokens = unpacked(self.to_tokens(rows.part("tokens")), real)  # (R, S, n, W)
        if rows.grid is None:
            raise ConfigError("biovil_t compares places, and the tokens of its tower form no grid: choose another.")
        current, there = tokens[:, 0], real[:, -1] & (real.shape[1] == 2)
        # Also of no pair at all: every process has the same parameters in its graph.
        compared = self._compare(current[there], tokens[there, -1], rows.grid).to(current.dtype)
        missing = self.missing.to(current.dtype).expand_as(current)
        difference = missing.masked_scatter(there[:, None, None], compared)
        both = torch.cat([current, difference], dim=2)
        return Encoded(
            owner=torch.arange(len(values), device=values.device),
            pooled=both.mean(1) if "pooled" in parts else None,
            tokens=both if "tokens" in parts else None,
            mask=torch.ones(both.shape[:2], dtype=torch.bool, device=values.device),
            grid=rows.grid,
        )

    def _compare(self, current: Tensor, prior: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Return d (P, n, W) of pairs."""
        place = sine_places(grid, current.shape[2]).to(current)
        beside = torch.cat([place + self.order[0], place + self.order[1]])
        seen = torch.cat([current, prior], dim=1)
        for layer in self.layers:
            seen = layer(seen, beside)
        return self.norm(seen)[:, : current.shape[1]]


def reads_priors(model: nn.Module) -> bool:
    """Return whether a model looks at a film and its prior: its stacks are such pairs, and their tokens places."""
    return any(isinstance(module, BioVilT) for module in model.modules())


class PairLayer(nn.Module):
    """Queries, keys and values all see the place and the order."""

    def __init__(self, width: int, heads: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm, self.norm_mlp = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention, self.mlp = Attention(width=width, heads=heads), mlp(width, ratio)
        self.attention.qkv = nn.Linear(width, 3 * width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """Return tokens (R, N, W) of the same shape; `beside` is added to what attention reads."""
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

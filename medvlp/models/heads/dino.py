"""The head of DINO and iBOT: a small network, unit length, and cosines with prototypes of unit length."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel


class DinoHead(Head):
    """(R, ..., W) -> (R, ..., K): linear layers with GELU between, scaled to unit length, times unit prototypes.

    Layers begin with weights of spread 0.02 and without bias, so that at first rows tell directions, not what a bias
    adds to all of them. Prototypes have unit length by how they are used (a weight norm whose gain stays 1). Let them
    stand still at first by a phase with ``trainable: ["*", "!model.heads.*dino.prototypes"]``, as DINO does for an
    epoch.

    Args:
        reads: part that is read; of ``tokens`` each is scored.
        hidden: width of the hidden layers.
        layers: number of linear layers before the prototypes.
        bottleneck: width of the last of them.
        prototypes: K.
        stage: ``tower``: a part of every row; ``call``: an objective calls `scores` for the rows that it chooses.

    References:
        Caron et al. 2021 (DINO), appendix C; Zhou et al. 2022 (iBOT).

    Example:
        >>> head = DinoHead(in_width=4, hidden=8, bottleneck=3, prototypes=5)
        >>> scores = head(Encoded(owner=torch.arange(2), pooled=torch.ones(2, 4)), "dino")["dino"]
        >>> scores.shape, bool((scores.abs() <= 1 + 1e-6).all())
        (torch.Size([2, 5]), True)
    """

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        reads: str = "pooled",
        hidden: Annotated[int, Field(ge=1)] = 2048,
        layers: Annotated[int, Field(ge=1)] = 3,
        bottleneck: Annotated[int, Field(ge=1)] = 256,
        prototypes: Annotated[int, Field(ge=2)] = 65536,
        stage: Literal["tower", "call"] = "tower",
    ) -> None:
        super().__init__()
        self.reads = (reads,)
        self.stage = stage
        self.width = prototypes
        widths = [in_width, *[hidden] * (layers - 1), bottleneck]
        linears = [nn.Linear(a, b) for a, b in pairwise(widths)]
        for linear in linears:
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        self.layers = nn.ModuleList(linears)
        self.prototypes = nn.Parameter(unit(torch.randn(prototypes, bottleneck)))

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, ..., K)}."""
        return {name: self.scores(encoded.part(self.reads[0]))}

    def scores(self, values: Tensor) -> Tensor:
        """Return the cosines (..., K) of (..., W) rows."""
        for place, layer in enumerate(self.layers):
            values = layer(nn.functional.gelu(values) if place else values)
        return unit(values) @ unit(self.prototypes).T

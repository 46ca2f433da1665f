"""DIVA (Wang et al. 2024) in small: what a frozen, pretrained generator makes of the image's embedding is the image.

The paper's generator is a diffusion model and its loss that of the noise; here it is one linear map to a coarse image,
which asks the engine for the same things: a pretrained part in a head, frozen, through which gradients flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core import Objective, Term
from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Head, HeadSpec
from medvlp.core.registry import FromModel

SIDE = 8


class CoarseImage(Head):
    """(R, D) -> (R, 64) pixels."""

    stage = "call"

    def __init__(self, *, embed_dim: Annotated[int, FromModel("embed_dim")]) -> None:
        super().__init__()
        self.pixels = nn.Linear(embed_dim, SIDE * SIDE)

    def forward(self, encoded: Tensor, name: str = "") -> Tensor:  # pyrefly: ignore
        return self.pixels(encoded)


class Reconstruct(Objective):
    """Mean over images of the squared error of the coarse image."""

    def __init__(self, *, weights: str | None = None) -> None:
        super().__init__()
        self.weights = weights

    def needs(self) -> frozenset[Key]:
        return keys("image/raw", "image")

    def heads(self) -> Mapping[str, HeadSpec]:
        return {"generator": HeadSpec("coarse_image", weights=self.weights)}

    def forward(self, ctx: Context) -> Mapping[str, Term]:
        truth = F.adaptive_avg_pool2d(ctx["image"], SIDE).flatten(1)
        made = ctx.heads["generator"](ctx["image/raw"])
        return {"pixels": Term.of((made - truth).square().mean(dim=1))}

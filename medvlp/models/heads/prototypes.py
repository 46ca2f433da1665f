"""Learned prototypes: unit vectors that rows of any view are compared with."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import unit
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel


class Prototypes(Head):
    """K learned vectors of unit length, the same for every view, at stage ``call``; brought back to it after each step.

    Args:
        prototypes: K.
        width: D; None: the model's `embed_dim`.

    Example:
        >>> Prototypes(embed_dim=4, prototypes=3).scores(torch.eye(4), learn=True).shape
        torch.Size([4, 3])
    """

    reads = ()
    stage = "call"

    def __init__(
        self,
        *,
        embed_dim: Annotated[int, FromModel("embed_dim")],
        prototypes: Annotated[int, Field(ge=2)] = 500,
        width: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(unit(torch.randn(prototypes, width or embed_dim)))

    def scores(self, rows: Tensor, *, learn: bool) -> Tensor:
        """Return cosines (R, K) of unit rows (R, D) with all prototypes, with their gradient where they `learn`."""
        return rows @ (self.weight if learn else self.weight.detach()).to(rows).T

    @torch.no_grad()
    def after_step(self, samples_seen: int) -> None:
        """Rescale the prototypes to unit length; those that have it stay unchanged bit for bit."""
        lengths = self.weight.norm(dim=1, keepdim=True)
        self.weight.copy_(torch.where((lengths - 1).abs() < 1e-6, self.weight, unit(self.weight)))

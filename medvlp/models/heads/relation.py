"""A small network that tells how well a row belongs to a prototype."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel


class Relation(Head):
    """(R, D) rows and (L, C, D) prototypes -> (R, L, C), at stage ``call``: a network over [row; prototype].

    Args:
        width: D; None: the model's `embed_dim`.
        hidden: width of its hidden layer.

    References:
        Qin et al. 2022 (FoPro), section 3.3; Sung et al. 2018 (relation network).

    Example:
        >>> Relation(embed_dim=4).scores(torch.eye(4)[:2], torch.zeros(3, 2, 4)).shape
        torch.Size([2, 3, 2])
    """

    reads = ()
    stage = "call"

    def __init__(
        self,
        *,
        embed_dim: Annotated[int, FromModel("embed_dim")],
        width: Annotated[int, Field(ge=1)] | None = None,
        hidden: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__()
        size = width or embed_dim
        self.row = nn.Linear(size, hidden)
        self.prototype = nn.Linear(size, hidden, bias=False)  # the two halves of one layer over [row; prototype]
        self.output = nn.Linear(hidden, 1)

    def scores(self, rows: Tensor, prototypes: Tensor) -> Tensor:
        """Return the scores; their sigmoid is the share of belief."""
        both = self.row(rows)[:, None, None] + self.prototype(prototypes)[None]
        return self.output(torch.relu(both)).squeeze(-1)

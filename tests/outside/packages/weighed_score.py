"""A score that learns: which dimensions of the embeddings count, as somebody outside medvlp would write it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlp.core.protocols import Score


class Weighed(Score):
    """f(v, t) = sum_d w_d v_d t_d."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> Tensor:
        return (rows["embedding"] * self.weight) @ columns["embedding"].T

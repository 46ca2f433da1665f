"""Ways to make one vector of S slices: (R, S, W), mask (R, S), place along (R, S) -> (R, W) and weights (R, S).

All but `max` and `middle` start as the masked mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlp.models.encoders._blocks import refuse_heads, zeroed

_ALIKE = 1e-4  # of the reach: single precision, in which NIfTI keeps places, chooses no slice


class Pool(nn.Module, ABC):
    """One way; padded slices have no weight and no influence."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, slices: Tensor, mask: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """Return (R, W) and (R, S); weights sum to 1."""


class MeanPool(Pool):
    """The masked mean."""

    def forward(self, slices: Tensor, mask: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """See `Pool`."""
        weights = uniform(mask, slices.dtype)
        return torch.einsum("rs,rsw->rw", weights, slices), weights


class MaxPool(Pool):
    """The largest value of each channel; a slice's weight is the share of channels that it gives."""

    def forward(self, slices: Tensor, mask: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """See `Pool`."""
        pooled, winner = slices.masked_fill(~mask[..., None], torch.finfo(slices.dtype).min).max(1)
        votes = torch.zeros(mask.shape, dtype=slices.dtype, device=slices.device)
        return pooled, votes.scatter_add(1, winner, torch.ones_like(pooled) / pooled.shape[1])


class MiddlePool(Pool):
    """The slice nearest to the middle of the volume; of two that are equally near, by rounding or less, the first."""

    def forward(self, slices: Tensor, mask: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """See `Pool`."""
        apart = (along - 0.5).abs().masked_fill(~mask, torch.inf)
        nearest = (apart <= apart.amin(1, keepdim=True) + _ALIKE).int().argmax(1)
        weights = torch.nn.functional.one_hot(nearest, mask.shape[1]).to(slices.dtype)
        return slices[torch.arange(len(slices), device=slices.device), nearest], weights


class AttentionPool(Pool):
    """Multi-head attention whose query is the mean of the slices; values are the slices themselves."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        refuse_heads(heads, width)
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = zeroed(nn.Linear(width, width))  # all slices weigh the same at the start
        self.key = nn.Linear(width, width)

    def forward(self, slices: Tensor, mask: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """See `Pool`."""
        rows, depth, width = slices.shape
        normed = self.norm(slices)
        mean = torch.einsum("rs,rsw->rw", uniform(mask, slices.dtype), normed)
        query = self.query(mean).view(rows, self.heads, -1)
        keys = self.key(normed).view(rows, depth, self.heads, -1)
        logits = torch.einsum("rhd,rshd->rhs", query, keys).float() * (width // self.heads) ** -0.5
        weights = logits.masked_fill(~mask[:, None], -torch.inf).softmax(-1).to(slices.dtype)
        pooled = torch.einsum("rhs,rshd->rhd", weights, slices.view(rows, depth, self.heads, -1))
        return pooled.reshape(rows, width), weights.mean(1)


class GatedPool(Pool):
    """Gated attention of multiple instance learning (Ilse et al. 2018, eq. 9): softmax w (tanh V h * sigm U h)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        hidden = max(16, width // 4)
        self.norm = nn.LayerNorm(width)
        self.what = nn.Linear(width, hidden)
        self.gate = nn.Linear(width, hidden)
        self.score = zeroed(nn.Linear(hidden, 1, bias=False))

    def forward(self, slices: Tensor, mask: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """See `Pool`."""
        normed = self.norm(slices)
        logits = self.score(self.what(normed).tanh() * self.gate(normed).sigmoid())[..., 0].float()
        weights = logits.masked_fill(~mask, -torch.inf).softmax(-1).to(slices.dtype)
        return torch.einsum("rs,rsw->rw", weights, slices), weights


POOLS: Mapping[str, type[Pool]] = {
    "mean": MeanPool,
    "cls": MeanPool,
    "max": MaxPool,
    "middle": MiddlePool,
    "attention": AttentionPool,
    "gated": GatedPool,
}


def uniform(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return mask.to(dtype) / mask.sum(1, keepdim=True).clamp_min(1).to(dtype)

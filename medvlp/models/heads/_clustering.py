"""Tokens gathered into learnt centres: the grouping of GroupViT and AttrSeg."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Clustering(nn.Module):
    r"""G + W_o (sum_j a_j W_v x_j / sum_j a_j) of tokens x (R, n, D), with a the softmax over centres G (m, D).

    W_o and W_v start as the identity, and centres small. Of an empty centre the mean is 0. With `hard` each token is
    wholly its likeliest centre's, with the gradient of the softmax (straight through, without Gumbel's noise).

    References:
        Xu et al. 2022 (GroupViT), eq. 3 to 6.

    Example:
        >>> one = Clustering(1, 2, hard=True)
        >>> _ = one.centres.data.zero_()
        >>> one(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])).tolist()
        [[[0.5, 0.5]]]
    """

    def __init__(self, count: int, width: int, *, hard: bool) -> None:
        super().__init__()
        self.hard = hard
        self.centres = nn.Parameter(0.1 * width**-0.5 * torch.randn(count, width))
        # Of one centre the softmax is 1: it has nothing to compare.
        self.query, self.key = (nn.Linear(width, width, bias=False) if count > 1 else None for _ in range(2))
        self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(2))
        for layer in (self.value, self.output):
            nn.init.eye_(layer.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (R, m, D)."""
        share = self.shares(tokens)
        mean = share @ self.value(tokens) / share.sum(dim=2, keepdim=True).clamp(min=1e-6)
        return self.centres + self.output(mean)

    def shares(self, tokens: Tensor) -> Tensor:
        """Return how much of each token is each centre's, (R, m, n), of sum 1 over centres."""
        if self.query is None or self.key is None:
            return tokens.new_ones(len(tokens), 1, tokens.shape[1])
        near = self.query(self.centres) @ self.key(tokens).transpose(1, 2) * tokens.shape[2] ** -0.5
        soft = near.softmax(dim=1)
        if not self.hard:
            return soft
        whole = torch.zeros_like(soft).scatter(1, soft.argmax(dim=1, keepdim=True), 1.0)
        return whole + soft - soft.detach()

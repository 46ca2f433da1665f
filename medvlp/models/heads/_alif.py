"""ALIF: tokens of a picture and of texts read each other through a gate, as in RLIPv2."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GatedFusion(nn.Module):
    r"""Asymmetric language-image fusion's one attention for both ways (Yuan et al. 2023, RLIPv2).

    With v and l normalised, S = (Q v)(K l)^T / sqrt(d) in each of h heads::

        v' = v + g_v O_v (softmax over texts of S) V_l l
        l' = l + g_l O_l (softmax over real tokens of S^T) V_v v

    so gates of 0 leave both as they are, bit for bit. The released gate is a number without activation, at first 1 over
    the number of feature levels; what is added to is here the stream itself, not its norm.

    Args:
        width: of both streams.
        heads: h.
        gate: what both gates start from.

    Example:
        >>> fusion = GatedFusion(width=4, heads=2, gate=0.0)
        >>> v, l = torch.rand(1, 3, 4), torch.rand(1, 2, 4)
        >>> [bool((new == old).all()) for new, old in zip(fusion(v, l, None), (v, l))]
        [True, True]
    """

    def __init__(self, *, width: int, heads: int, gate: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.ask, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.values = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.gates = nn.Parameter(torch.full((2,), gate))

    def forward(self, tokens: Tensor, texts: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return both streams after they have read each other.

        Args:
            tokens: (R, N, W).
            texts: (R, K, W).
            mask: (R, N), True on real tokens; None: all are.
        """
        v, t = self.norms[0](tokens), self.norms[1](texts)
        ask, key, of_tokens, of_texts = (
            self._split(each) for each in (self.ask(v), self.key(t), self.values[0](v), self.values[1](t))
        )
        scores = ask @ key.transpose(2, 3) * ask.shape[-1] ** -0.5  # (R, h, N, K)
        hidden = scores if mask is None else scores.masked_fill(~mask[:, None, :, None], float("-inf"))
        for_tokens = scores.softmax(dim=3) @ of_texts
        for_texts = hidden.softmax(dim=2).transpose(2, 3) @ of_tokens
        tokens = tokens + self.gates[0] * self.out[0](for_tokens.transpose(1, 2).flatten(2))
        return tokens, texts + self.gates[1] * self.out[1](for_texts.transpose(1, 2).flatten(2))

    def _split(self, rows: Tensor) -> Tensor:
        return rows.unflatten(2, (self.heads, -1)).transpose(1, 2)

"""A mixture of experts in the place of a block's MLP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medvlp.models._draws import RowDraws
from medvlp.models.architectures._recipe import kind_of


class Experts(nn.Module):
    """Networks of which each token passes the few that a router weighs most.

    y = sum over the `top` experts e of p of (p_e / their sum) f_e(x), with p = softmax(router(x)) over all of them.
    While the model encodes rows it gives ``router``, p of each token, and ``routed``, the weights with which its
    experts were mixed, 0 for the others, both (R, N', E); N' are all tokens of the blocks, class tokens first. Without
    `top` there is no router and the last network works alone.

    Args:
        networks: E of them, each (R, N, W) -> (R, N, W).
        top: experts of a token.
        width: W.
        draws: through which the model is given the parts.
        site: where it stands.
    """

    def __init__(
        self, networks: Sequence[nn.Module], *, top: int | None, width: int, draws: RowDraws, site: str
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(networks)
        self.router = None if top is None else nn.Linear(width, len(networks), bias=False)
        self.top = top
        self.site = site
        self._draws = draws

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (R, N, W)."""
        if self.router is None or self.top is None:
            return self.experts[-1](tokens)
        logits = self.router(tokens)
        wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        shares = wide.softmax(dim=-1)
        weights, chosen = shares.topk(self.top, dim=-1)
        routed = torch.zeros_like(shares).scatter(-1, chosen, weights / weights.sum(dim=-1, keepdim=True))
        if self._draws.view:
            key = self.key(kind_of(self._draws.view))
            self._draws.give("router", key, shares)
            self._draws.give("routed", key, routed)
        return self._mixed(tokens, routed.to(tokens.dtype))

    def key(self, kind: str) -> str:
        """Return by which name its parts are known in a tower of a kind."""
        return f"upcycle@{kind}:{self.site}"

    def _mixed(self, tokens: Tensor, routed: Tensor) -> Tensor:
        if torch.jit.is_tracing() or torch.compiler.is_compiling():  # a graph has no tokens to choose
            return torch.stack([routed[..., i, None] * f(tokens) for i, f in enumerate(self.experts)]).sum(dim=0)
        out = torch.zeros_like(tokens)
        for i, expert in enumerate(self.experts):
            # An expert that nobody chose is called all the same: its gradient is then zero, not missing.
            where = (routed[..., i] > 0).nonzero(as_tuple=True)
            out = out.index_put(where, (routed[..., i][where][:, None] * expert(tokens[where])).to(out.dtype), True)
        return out

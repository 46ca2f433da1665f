"""Upcycling (CLIP-MoE, Zhang et al. 2024): MLPs become experts, trained one by one, and a router then mixes them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import promoted
from medvlp.core.errors import ConfigError
from medvlp.models._draws import RowDraws
from medvlp.models.architectures._recipe import kind_of
from medvlp.models.architectures._standing import Standing
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._sites import MlpSite
from medvlp.models.surgery._blocks import tower_of


class Upcycle:
    """The MLP of each block becomes several, of which a router chooses for each token.

    Done once, ``{experts: 4, top: 2}``, all experts are copies of the MLP and the tower computes what it did (sparse
    upcycling). In the diversified upcycling of CLIP-MoE each comes from a stage of its own: a phase that begins with
    ``{experts: 2, top: null}`` puts a copy of the newest expert beside it, which works and trains alone while the
    others wait, as they were; so does ``{experts: 3, top: null}`` in the next; and ``{experts: 3, top: 2}`` merges all
    of them under a router. What is not the newest expert is frozen by the phases' ``trainable``:

        stage S:  ["model.towers.text.*.mlp.experts.S.*"]
        router:   ["model.towers.text.*.mlp.router.*"]

    A stage trains on batches from within a cluster (state ``mcl``, sampler ``within``), the router with the objective
    ``router_balance`` beside its loss. What the router does is read from the parts ``text/router`` and ``text/routed``.

    Args:
        kind: of the tower; the trunk of a single-tower model is shared, so that both kinds get the experts.
        experts: how many there are from then on.
        top: experts of a token, 2 in the paper; null: the newest works alone, without a router.

    Raises:
        ConfigError: if `top` is above `experts`; by the call, if there is no such tower, it has no blocks with MLPs, it
            has more experts already, or patches stand.

    References:
        Zhang et al. 2024 (CLIP-MoE), section 3; Komatsuzaki et al. 2023 (sparse upcycling).

    Note:
        An expert is no diagnosis: that one of them is used more in films with a finding says nothing of its cause.

    Example:
        >>> Upcycle(kind="text", experts=4).top
        2
    """

    def __init__(
        self, *, kind: str, experts: Annotated[int, Field(ge=2)] = 4, top: Annotated[int, Field(ge=1)] | None = 2
    ) -> None:
        if top is not None and top > experts:
            raise ConfigError(f"top of surgery 'upcycle' is {top}, and there are {experts} experts: lower it.")
        self.kind = kind
        self.experts = experts
        self.top = top

    def __call__(self, model: TowerModel) -> None:
        """Change the model's tower."""
        tower = tower_of(model, self.kind, who="upcycle")
        sites = {name: site for name, site in tower.sites().items() if isinstance(site, MlpSite) and site.first is None}
        if not sites:
            raise ConfigError(
                f"upcycle needs blocks with an MLP in one module, which the {self.kind} tower has not: use a "
                "transformer of this library or of timm."
            )
        names = {id(module): name for name, module in model.named_modules()}
        for name, site in sites.items():
            model.set_submodule(names[id(site.module)], self._made(model, name, site.module))
        for kind, other in model.towers.items():
            for site in other.sites().values():
                if isinstance(site, MlpSite) and isinstance(site.module, Experts) and site.module.router is not None:
                    model.publish(Standing(site.module.key(kind), kind, "*", ("router", "routed"), several=True))

    def _made(self, model: TowerModel, site: str, before: nn.Module) -> Experts:
        networks = list(before.experts) if isinstance(before, Experts) else [before]
        if len(networks) > self.experts:
            raise ConfigError(f"upcycle makes {self.experts} experts, and there are {len(networks)}: raise experts.")
        networks += [copy.deepcopy(networks[-1]) for _ in range(self.experts - len(networks))]
        width = next(module.in_features for module in networks[0].modules() if isinstance(module, nn.Linear))
        made = Experts(networks, top=self.top, width=width, draws=model.draws, site=site)
        if made.router is not None:
            made.router.to(next(before.parameters()))
        return made.train(before.training)


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
        wide = promoted(logits)
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

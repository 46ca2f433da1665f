"""Upcycling (CLIP-MoE, Zhang et al. 2024): MLPs become experts, trained one by one, and a router then mixes them."""

from __future__ import annotations

import copy
from typing import Annotated

from pydantic import Field
from torch import nn

from medvlp.core.errors import ConfigError
from medvlp.models.architectures._standing import Standing
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._sites import MlpSite
from medvlp.models.surgery._blocks import tower_of
from medvlp.models.surgery._experts import Experts


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

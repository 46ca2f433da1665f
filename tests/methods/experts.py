"""CLIP-MoE (Zhang et al. 2024): a block's MLP becomes several, of which a router takes two for each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from medvlp.core import Objective, Term
from medvlp.core.context import Context
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys
from medvlp.core.registry import FromModel
from medvlp.models.encoders._sites import MlpSite
from medvlp.models.patches import Patch, Patched


class Experts(Patch):
    """sum over the `top` most probable experts of p_e E_e(x) / sum p_e; expert 0 is the block's own MLP.

    ``router`` is (R, N, E), softmax of a linear map of the MLP's input.
    """

    gives = ("router",)

    def __init__(
        self,
        *,
        site: Annotated[MlpSite, FromModel("site")],
        widths: Annotated[Mapping[str, int], FromModel("token_widths")],
        kind: str = "image",
        on: str = "block.mlp[*]",
        experts: int = 4,
        top: int = 2,
    ) -> None:
        super().__init__()
        self.router = nn.Linear(widths[kind], experts, bias=False)
        self.others = nn.ModuleList(site.copy() for _ in range(experts - 1))
        self.top = top

    def forward(self, value: Tensor, source: Tensor) -> Patched:
        shares = self.router(source).softmax(dim=-1)
        best = shares.topk(self.top, dim=-1)
        gates = torch.zeros_like(shares).scatter(-1, best.indices, best.values)
        gates = gates / gates.sum(dim=-1, keepdim=True)
        outputs = torch.stack([value, *(expert(source) for expert in self.others)], dim=-1)
        return Patched((outputs * gates[..., None, :]).sum(dim=-1), parts={"router": shares})


class RouterBalance(Objective):
    """E sum_e f_e P_e of each layer, its mean over layers (Fedus et al. 2021, f summed over the `top` slots).

    f_e is the share of all real tokens, of all processes and chunks, that take expert e; P_e its mean probability.
    With f known the loss is a mean over tokens, which is what makes it a sum and a count.
    """

    def __init__(self, *, views: list[str], top: int = 2) -> None:
        super().__init__()
        self.views, self.top = views, top

    def needs(self) -> frozenset[Key]:
        masks = [f"{view}/mask" for view in self.views if parse_field(view).kind == "text"]
        return keys(*(f"{view}/router" for view in self.views), *masks)

    def forward(self, ctx: Context) -> Mapping[str, Term]:
        return {view: self._term(ctx, view) for view in self.views}

    def _term(self, ctx: Context, view: str) -> Term:
        router, padded = f"{view}/router", parse_field(view).kind == "text"
        everybodys = self._tokens(ctx.all(router).detach(), ctx.all(f"{view}/mask") if padded else None)
        places = everybodys.topk(self.top, dim=1).indices
        taken = torch.zeros_like(everybodys).scatter(1, places, 1.0).mean(dim=0)
        own = self._tokens(ctx[router], ctx[f"{view}/mask"] if padded else None)
        return Term.of(own.shape[1] * (taken * own).sum(dim=1).mean(dim=-1))

    def _tokens(self, router: Tensor, mask: Tensor | None) -> Tensor:
        """Return (tokens, E, L)."""
        router = router if router.dim() == 4 else router[..., None]
        return router.flatten(0, 1) if mask is None else router[mask]

"""The balance loss of a mixture of experts: all experts get tokens (CLIP-MoE, Zhang et al. 2024)."""

from __future__ import annotations

import torch

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term, Terms


class RouterBalance(Objective):
    r"""L = mean over layers of E sum over experts e of f_e P_e, over the real tokens of all processes.

    f_e is the share of the tokens that have e among their experts, without gradient, P_e the mean of what the router's
    softmax gives it. With k experts a token L is k where all are used alike, and the more the fewer of them are used.
    Give it a small weight, 0.01 in the paper, beside the loss that trains the routers.

    Args:
        view: of the tower that the surgery ``upcycle`` gave experts.

    Returns:
        ``balance``.

    References:
        Fedus et al. 2022 (Switch Transformer), eq. 4, for one expert a token; Zhang et al. 2024 (CLIP-MoE), as in the
        authors' code, where f is summed over the k experts of a token. Theirs takes both shares over the tokens of all
        layers together, so that one layer may make up for another; here each layer is balanced for itself.

    Note:
        A balanced router sends tokens of a rare finding to experts that common ones have shaped; a small weight leaves
        it free to keep an expert for them.

    Example:
        >>> even = torch.full((1, 3, 4, 1), 0.25)  # one row, three tokens, four experts, one layer
        >>> chosen = torch.tensor([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5]])[None, :, :, None]
        >>> rows = {"text/router": even, "text/routed": chosen, "text/mask": torch.ones(1, 3) > 0}
        >>> RouterBalance()(Context.of(rows, {"text": ["a"]}))["balance"].value().item()
        2.0
    """

    def __init__(self, *, view: str = "text") -> None:
        super().__init__()
        self.view = view

    def needs(self) -> frozenset[Key]:
        """What the routers gave, with which weights experts were mixed, and which tokens are real."""
        return keys(*(f"{self.view}/{part}" for part in ("router", "routed", "mask")))

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        key = f"{self.view}/router"
        router, routed = ctx[key], ctx[f"{self.view}/routed"]
        mask = ctx[f"{self.view}/mask"]  # of the tower's own tokens; class tokens in front of them are real
        real = torch.nn.functional.pad(mask, (router.shape[1] - mask.shape[1], 0), value=True).to(router.dtype)
        chosen = torch.einsum("rn,rnel->rel", real, (routed > 0).to(real.dtype))
        counted = torch.cat([chosen.flatten(1), real.sum(dim=1, keepdim=True)], dim=1).detach()
        everybody = ctx.gather(counted, ctx.owner(key)).values.sum(dim=0)
        share = everybody[:-1].unflatten(0, chosen.shape[1:]) / everybody[-1].clamp(min=1)
        rows = torch.einsum("rn,rnel,el->rn", real, router, share) * (router.shape[2] / router.shape[3])
        return {"balance": Term.of(rows.flatten(), real.flatten())}

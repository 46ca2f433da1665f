"""Closing gates until a tower is as small as it shall be (TinyCLIP, Wu et al. 2023)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term, Terms


class L0Sparsity(Objective):
    r"""A Lagrangian that holds the expected share of closed weights at a target which rises.

    L = l_1 g + l_2 g^2,   g = max(0, target - s),   s = 1 - expected weights behind open gates / all gated weights.

    The multipliers l_1 and l_2 are learned by gradient *ascent*: the longer the target is missed, the more it costs.
    Their gradient is turned round here, so that any optimiser climbs (the authors give theirs a negative rate, which
    torch refuses).

    Args:
        view: of the tower that the surgery ``learn_masks`` put gates in.
        target: the share of weights to close, 0.25 a stage in the paper.
        until: samples after which the target is reached, from 0 on linearly, counted by the run from `start` on.
        start: samples seen when the phase begins.
        multiplier: of l_1 and l_2 at the begin.

    Returns:
        ``sparsity``, to which every row of the view adds alike.

    References:
        Wu et al. 2023 (TinyCLIP), section 3.2; the form and its constants as in the authors' code.

    Note:
        It knows the number of weights, not what they are for: a finding that few samples have costs little to lose.

    Example:
        >>> from medvlp.core import Batch, Part
        >>> from medvlp.core.keys import parse_key
        >>> open_and_all = torch.tensor([[[90.0, 40.0], [100.0, 100.0]]])  # one row; 130 of 200 are open
        >>> parts = {parse_key("text/open"): Part(open_and_all, torch.arange(1))}
        >>> ctx = Context(parts=parts, batch=Batch.of({"text": ["a"]}), samples_seen=100)
        >>> round(L0Sparsity(target=0.5, until=100)(ctx)["sparsity"].value().item(), 4)  # 10 * 0.15 + 10 * 0.15^2
        1.725
    """

    def __init__(
        self,
        *,
        view: str = "text",
        target: Annotated[float, Field(gt=0, lt=1)] = 0.25,
        until: Annotated[int, Field(ge=1)] = 8_000_000,
        start: Annotated[int, Field(ge=0)] = 0,
        multiplier: float = 10.0,
    ) -> None:
        super().__init__()
        self.view = view
        self.target = target
        self.until = until
        self.start = start
        self.multipliers = nn.Parameter(torch.full((2,), multiplier))

    def needs(self) -> frozenset[Key]:
        """What the gates say of themselves."""
        return keys(f"{self.view}/open")

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        open_, all_ = ctx[f"{self.view}/open"].sum(dim=-1).unbind(dim=1)  # (R,) each, all rows alike
        reached = min(1.0, max(0, ctx.samples_seen - self.start) / self.until)
        missing = (self.target * reached - (1 - open_ / all_)).clamp(min=0)
        first, second = (2 * self.multipliers.detach() - self.multipliers).to(missing)  # the gradient turned round
        return {"sparsity": Term.of(first * missing + second * missing.square())}

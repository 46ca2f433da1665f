"""GPC (Zhao et al. 2023): known findings are learned and unknown ones discovered, by contrast and prototypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Terms
from medvlp.objectives._contrast import contrast
from medvlp.state.gpc import Gpc as GpcState


class Gpc(Objective):
    r"""Two views of a sample find each other, samples of a known class each other, and all of them their prototype.

    With z projected rows of unit length of both views of all samples, c_k and phi_k the prototypes and temperatures of
    a state `gpc`, and a(i) the cluster that it gave a sample,

        views      = (1 - lambda) mean over i of -log softmax_{j != i}(z_i . z_j / t) at the sample's other view
        classes    = lambda mean over labelled i of the mean over j of i's class of -log softmax_{j != i}(z_i . z_j /
                     t), j among labelled rows only
        prototypes = mean over i of -log softmax_k(z_i . c_k / phi_k) at a(i)

    Before the state's first pass the last term is nothing.

    Args:
        views: the two views, of one row a sample each, such as two large crops.
        state: a state `gpc` that reads ``image/HEAD``: the picture as it is.
        balance: lambda, 0.35 as published.
        temperature: t.
        hidden: width of the projection's hidden layer.
        width: of z.
        head: name of the projection.

    Returns:
        ``views``, ``classes`` and ``prototypes``.

    Raises:
        ConfigError: without two views, or if the state is another.

    References:
        Zhao et al. 2023, equations 1 to 6; Vaze et al. 2022 (category discovery); Khosla et al. 2020. In the authors'
        code prototypes lie in the space of the tower's rows, here in that of the projected ones.

    Note:
        A study with two findings has no class of its own here and may found a group: discovered groups can be
        combinations of known findings. None of them is a diagnosis.

    Example:
        >>> sorted(map(str, Gpc().needs()))
        ['image.first/gpc', 'image.second/gpc', 'number.gpc', 'state:gpc']
    """

    def __init__(
        self,
        *,
        views: Sequence[str] = ("image.first", "image.second"),
        state: str = "gpc",
        balance: Annotated[float, Field(ge=0, le=1)] = 0.35,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        hidden: Annotated[int, Field(ge=1)] = 512,
        width: Annotated[int, Field(ge=1)] = 128,
        head: str = "gpc",
    ) -> None:
        super().__init__()
        if len(set(views)) != 2:
            raise ConfigError(f"views of objective 'gpc' are {', '.join(views)}: name two different ones.")
        self.views = tuple(f"{view}/{head}" for view in views)
        self.state = state
        self.balance = balance
        self.temperature = temperature
        self.head = head
        self._projection = {"reads": "raw", "hidden": hidden, "width": width, "bias": True}

    def needs(self) -> frozenset[Key]:
        """Rows of both views, the clusters and the state; it asks for the labels."""
        return keys(*self.views, "number.gpc", f"state:{self.state}")

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection."""
        return {self.head: HeadSpec("projection", self._projection)}

    def forward(self, ctx: Context) -> Terms:
        """Return the three terms."""
        state = ctx.state[self.state]
        if not isinstance(state, GpcState):
            raise ConfigError(f"states.{self.state} is no 'gpc', which the objective of that name needs.")
        rows = torch.cat([unit(ctx[key]) for key in self.views])
        every = torch.cat([unit(ctx.all(key)) for key in self.views])
        owner = torch.cat([ctx.owner(key) for key in self.views])
        of_all = torch.cat([ctx.all_owner(key) for key in self.views])
        first = len(ctx.all_owner(self.views[0]))
        place = torch.cat([ctx.own(self.views[0]), ctx.own(self.views[1]) + first])
        known = torch.cat([self._known(ctx, state, key) for key in self.views])
        of_known = torch.cat([ctx.gather(self._known(ctx, state, key), ctx.owner(key)).values for key in self.views])
        itself = torch.zeros(len(rows), len(every), dtype=torch.bool, device=rows.device)
        itself[torch.arange(len(rows), device=rows.device), place] = True
        scores = rows @ every.T / self.temperature
        alike = (known[:, None] == of_known) & (known >= 0)[:, None]
        return {
            "views": contrast(scores, owner[:, None] == of_all, exclude=itself).times(1 - self.balance),
            "classes": contrast(scores, alike, exclude=itself | (of_known < 0)).times(self.balance),
            "prototypes": contrast(*self._against(ctx, state, rows)),
        }

    @staticmethod
    def _known(ctx: Context, state: GpcState, key: str) -> Tensor:
        return state.known(torch.stack([ctx.rows(f"label.{name}", key).one() for name in state.labels], dim=1))

    def _against(self, ctx: Context, state: GpcState, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores with the prototypes, (R, K), and the cluster of each row, -1 for none."""
        cluster = torch.cat([ctx.rows("number.gpc", key).one() for key in self.views])
        if not len(state.prototypes):
            return rows[:, :1] * 0, torch.full((len(rows),), -1, device=rows.device)
        scores = rows @ state.prototypes.to(rows).T / state.temperatures.to(rows)
        return scores, cluster.nan_to_num(nan=-1).long()

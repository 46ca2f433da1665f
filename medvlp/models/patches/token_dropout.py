"""Dropping tokens while training: FLIP (Li et al. 2023) where tokens can be taken out, zeros where they cannot."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, cat

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Site
from medvlp.core.registry import FromModel
from medvlp.models.encoders._sites import TokenSite
from medvlp.models.patches._patch import Patch, Uniform


class TokenDropout(Patch):
    """Each row loses a fraction of its tokens, chosen anew for each sample; class and register tokens stay.

    ``remove`` leaves ceil((1 - rate) N) of N tokens, in order, and `grid` is None; ``zero`` sets each to zero with
    probability `rate`. Nothing is dropped in eval mode.

    Args:
        kind: tower.
        on: site; only ``tokens.input`` knows the tokens in the batch's order.
        rate: fraction that is dropped.
        mode: ``remove`` or ``zero``.

    Raises:
        ConfigError: at a site that does not hold all tokens, or whose tokens cannot be removed.

    Example:
        >>> import torch
        >>> site = TokenSite(torch.nn.Identity(), "after", prefix=1, removable=True)
        >>> patch = TokenDropout(site=site, uniform=lambda n: torch.rand(2, n), rate=0.75)
        >>> patch(torch.rand(2, 1 + 16, 8), torch.zeros(0)).shape
        torch.Size([2, 5, 8])
    """

    idle = True

    def __init__(
        self,
        *,
        site: Annotated[Site, FromModel("site")],
        uniform: Annotated[Uniform, FromModel("uniform")],
        kind: str = "image",
        on: str = "tokens.input",
        rate: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        mode: Literal["remove", "zero"] = "remove",
    ) -> None:
        super().__init__()
        if not isinstance(site, TokenSite):
            raise ConfigError(
                f"token_dropout stands at tokens.input, and {on!r} is another site: write on: tokens.input."
            )
        if mode == "remove" and not site.removable:
            raise ConfigError(
                f"Tokens of the {kind} tower are masked or tied to a grid and cannot be removed: set mode to zero."
            )
        self.rate = rate
        self.mode = mode
        self._prefix = site.prefix
        self._uniform = uniform

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        """Drop tokens of (R, P + N, W)."""
        if not self.training or self.rate == 0:
            return value
        count = value.shape[1] - self._prefix
        draws = self._uniform(count).to(value.device)
        prefix, tokens = value[:, : self._prefix], value[:, self._prefix :]
        if self.mode == "zero":
            left = tokens * (draws >= self.rate)[:, :, None].to(value.dtype)
        else:
            number = max(1, math.ceil((1 - self.rate) * count - 1e-9))  # 0.3 of 10 is 3, which rounding lifts
            index = draws.argsort(dim=1, stable=True)[:, :number].sort(dim=1).values
            left = tokens.gather(1, index[:, :, None].expand(-1, -1, value.shape[2]))
        return cat([prefix, left], dim=1)

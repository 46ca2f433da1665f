"""A wider tower: more attention heads and hidden channels, which at first add nothing."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from medvlp.core.errors import ConfigError
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.surgery._blocks import branches_of


class GrowWidth:
    """Give each block of a tower further heads and further channels of its MLP.

    A new head reads with random weights, of the spread of the old ones, and is added to the tokens with weights of
    zero; so is a new channel: the tower computes what it did, and they begin to move at the first step. The width of
    the tokens stays. It is GrowCLIP's growth in width (Deng et al. 2023); that the paper grows heads is known from its
    abstract only. Which growth pays is measured by training each candidate briefly, as
    ``configs/sweep/growclip.yaml`` does.

    Args:
        kind: of the tower; the trunk of a single-tower model is shared, so that growing one kind grows both.
        heads: that each block gets, of the size of the others.
        channels: that each MLP gets.

    Raises:
        ConfigError: if nothing is to grow; by the call, if there is no such tower, its blocks are of another form, or
            patches stand.

    Note:
        A hospital that joins later brings scanners and habits of its own: grow, then train on all sites, the old ones
        among them, or the tower forgets these.

    Example:
        >>> GrowWidth(kind="text", heads=2).channels
        0
    """

    def __init__(
        self, *, kind: str, heads: Annotated[int, Field(ge=0)] = 0, channels: Annotated[int, Field(ge=0)] = 0
    ) -> None:
        if not heads + channels:
            raise ConfigError("grow_width grows nothing: give heads or channels.")
        self.kind = kind
        self.heads = heads
        self.channels = channels

    def __call__(self, model: TowerModel) -> None:
        """Change the model's tower."""
        for branches in branches_of(model, self.kind, who="grow_width"):
            heads, channels = (
                torch.cat([torch.arange(old), torch.full((new,), -1)]) if new else None
                for old, new in ((branches.heads, self.heads), (branches.channels, self.channels))
            )
            branches.select(heads, channels)

"""Low-rank adaptation of linear layers (Hu et al. 2022)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Site
from medvlp.core.registry import FromModel
from medvlp.models.patches._patch import Patch


class LoRA(Patch):
    """y -> y + alpha / rank * B A x at linear layers; B starts at zero, so that the model starts as it was.

    Freeze the layers themselves by the phase's ``trainable``: ``["!model.towers.*", "model.patches.*"]``.

    Args:
        kind: tower.
        on: sites, such as ``linear[*qkv*]``; others than linear layers are refused (ConfigError).
        rank: of the update.
        alpha: its size; alpha / rank is what a change of rank leaves alone.

    Example:
        >>> layer, x = nn.Linear(4, 3), torch.rand(5, 4)
        >>> bool((LoRA(site=Site(layer, "after"), rank=2)(layer(x), x) == layer(x)).all())
        True
    """

    def __init__(
        self,
        *,
        site: Annotated[Site, FromModel("site")],
        kind: str = "image",
        on: str = "linear[*]",
        rank: Annotated[int, Field(ge=1)] = 8,
        alpha: Annotated[float, Field(gt=0)] = 16.0,
    ) -> None:
        super().__init__()
        if not isinstance(site.module, nn.Linear) or site.when != "after":
            raise ConfigError(f"LoRA stands at linear layers, and {on!r} is none: write on: 'linear[...]'.")
        self.gain = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, site.module.in_features))
        self.up = nn.Parameter(torch.zeros(site.module.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.begin(site.module)

    def begin(self, layer: nn.Linear) -> None:
        """Take from the layer what else a subclass needs; here nothing."""

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        """Add the update."""
        return value + self.update(source)

    def update(self, source: Tensor) -> Tensor:
        """Return alpha / rank * B A x."""
        return self.gain * nn.functional.linear(nn.functional.linear(source, self.down), self.up)

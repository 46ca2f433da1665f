"""Bottleneck adapters behind a block's MLP (Houlsby et al. 2019; that place alone is Pfeiffer et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import zeroed
from medvlp.models.patches._patch import Patch


class Adapter(Patch):
    """h -> h + W_up gelu(W_down h) on tokens (R, N, W); W_up starts at zero, so that the model starts as it was.

    Args:
        kind: tower.
        on: sites; ``block.mlp[*]`` is what the MLPs give before they are added.
        width: of the bottleneck.

    Example:
        >>> import torch
        >>> patch, h = Adapter(widths={"image": 8}, width=2), torch.rand(1, 3, 8)
        >>> bool((patch(h, h) == h).all()), sum(p.numel() for p in patch.parameters())
        (True, 42)
    """

    def __init__(
        self,
        *,
        widths: Annotated[Mapping[str, int], FromModel("token_widths")],
        kind: str = "image",
        on: str = "block.mlp[*]",
        width: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        super().__init__()
        self._on = on
        self.down = nn.Linear(widths[kind], width)
        self.up = zeroed(nn.Linear(width, widths[kind]))

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        """Add what the bottleneck makes; a site without tokens of the tower's width is refused (ConfigError)."""
        if value.dim() != 3 or value.shape[-1] != self.down.in_features:
            raise ConfigError(
                f"adapter at {self._on!r} meets {tuple(value.shape[1:])} and takes tokens of width "
                f"{self.down.in_features}: put it at block.mlp[*] or block.after[*] of a transformer."
            )
        return value + self.up(nn.functional.gelu(self.down(value)))

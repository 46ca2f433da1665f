"""Low-rank adaptation of a layer's directions, its magnitudes apart (DoRA, Liu et al. 2024)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.protocols import Site
from medvlp.core.registry import FromModel
from medvlp.models.patches.lora import LoRA

__all__ = ["DoRA"]


class DoRA(LoRA):
    """y = m V / |V| x + b at linear layers, V = W + alpha / rank B A; the magnitudes m start as |W|.

    |V| is the length of each row (an output's weights) and constant in the backward pass (section 4.3), so that no
    gradient passes through the frozen layer; the model starts as it was.

    Args:
        kind, on, rank, alpha: as in `lora`.

    Example:
        >>> layer, x = nn.Linear(4, 3), torch.rand(5, 4)
        >>> bool((DoRA(site=Site(layer, "after"), rank=2)(layer(x), x) == layer(x)).all())
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
        super().__init__(site=site, kind=kind, on=on, rank=rank, alpha=alpha)
        self._layer = (site.module,)  # the tower's own: a tuple hides it from this module's state dict
        weight = site.module.weight
        assert isinstance(weight, Tensor)
        self.magnitude = nn.Parameter(_lengths(weight.detach()))

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        """Turn and scale what the layer gave."""
        layer = self._layer[0]
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            lengths = _lengths(layer.weight + self.gain * self.up @ self.down)
        share = self.magnitude / lengths
        plain = value if layer.bias is None else value - layer.bias
        return value + (share - 1) * plain + share * self.update(source)


def _lengths(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=1).clamp(min=torch.finfo(weight.dtype).tiny)

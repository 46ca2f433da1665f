"""Low-rank adaptation of a layer's directions, its magnitudes apart (DoRA, Liu et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp.models.patches.lora import LoRA


class DoRA(LoRA):
    """y = m V / |V| x + b at linear layers, V = W + alpha / rank B A; the magnitudes m start as |W|.

    |V| is the length of each row (an output's weights) and constant in the backward pass (section 4.3), so that no
    gradient passes through the frozen layer; the model starts as it was.

    Args:
        kind, on, rank, alpha: as in `lora`.

    Example:
        >>> from medvlp.core.protocols import Site
        >>> layer, x = nn.Linear(4, 3), torch.rand(5, 4)
        >>> bool((DoRA(site=Site(layer, "after"), rank=2)(layer(x), x) == layer(x)).all())
        True
    """

    def begin(self, layer: nn.Linear) -> None:
        """Take the layer and the lengths of its weight."""
        self._layer = (layer,)  # the tower's own: a tuple hides it from this module's state dict
        self.magnitude = nn.Parameter(_lengths(layer.weight.detach()))

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        """Turn and scale what the layer gave."""
        layer = self._layer[0]
        # Detached and not under no_grad: autocast would hand `update` the copies without a gradient that it made here.
        lengths = _lengths(layer.weight.detach() + self.gain * self.up.detach() @ self.down.detach())
        share = self.magnitude / lengths
        plain = value if layer.bias is None else value - layer.bias
        return value + (share - 1) * plain + share * self.update(source)


def _lengths(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=1).clamp(min=torch.finfo(weight.dtype).tiny)

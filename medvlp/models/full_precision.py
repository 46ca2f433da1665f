"""Convolutions over few slices, on a CPU, without bfloat16."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["at_few_slices"]

_FEW = 5


def at_few_slices(layer: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Call a layer of convolutions over three axes on (R, C, S, H, W), in float32 where S is at most 5 on a CPU.

    In bfloat16 the gradient of a kernel of 3 over a depth of 2 holds what the memory held before (oneDNN as it comes
    with torch 2.13), mostly numbers, sometimes NaN. Such maps are small, so that this costs nothing.

    Example:
        >>> layer = torch.nn.Conv3d(1, 1, 3, padding=1)
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     [at_few_slices(layer, torch.rand(1, 1, slices, 4, 4)).dtype for slices in (2, 8)]
        [torch.float32, torch.bfloat16]
    """
    if values.dim() != 5 or values.shape[2] > _FEW or values.device.type != "cpu":
        return layer(values)
    with torch.autocast("cpu", enabled=False):
        return layer(values if values.dtype == torch.float64 else values.float())

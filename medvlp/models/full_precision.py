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
    with torch 2.13). Such maps are small, so that this costs nothing.
    """
    if values.dim() != 5 or values.shape[2] > _FEW or values.device.type != "cpu":
        return layer(values)
    with torch.autocast("cpu", enabled=False):
        return layer(values if values.dtype == torch.float64 else values.float())

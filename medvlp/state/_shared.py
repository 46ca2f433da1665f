"""Where states compute after a feature pass, and sample ids as a tensor of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def device_of(model: nn.Module | None) -> torch.device:
    """Return the device on which sums travel between processes: the model's.

    The CPU without a model, and on mps, which has no float64 for sums.

    Example:
        >>> device_of(nn.Linear(1, 1))
        device(type='cpu')
    """
    device = None if model is None else next((parameter.device for parameter in model.parameters()), None)
    return torch.device("cpu") if device is None or device.type == "mps" else device


def packed(ids: Iterable[str]) -> Tensor:
    """Return sample ids as bytes, (n,) uint8."""
    return torch.frombuffer(bytearray(json.dumps(list(ids)).encode()), dtype=torch.uint8)


def unpacked(ids: Tensor) -> dict[str, int]:
    """Return each of `packed` ids with its place."""
    return {each: i for i, each in enumerate(json.loads(bytes(ids.cpu().tolist()).decode()))}

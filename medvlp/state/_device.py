"""Where a state computes after a feature pass: sums travel between processes on the device of the model."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["device_of"]


def device_of(model: nn.Module | None) -> torch.device:
    """Return the model's device; the CPU without a model, and on mps, which has no float64 for sums.

    Example:
        >>> device_of(nn.Linear(1, 1))
        device(type='cpu')
    """
    device = None if model is None else next((parameter.device for parameter in model.parameters()), None)
    return torch.device("cpu") if device is None or device.type == "mps" else device

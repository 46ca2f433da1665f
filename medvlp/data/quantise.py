"""Pixels in [0, 1] as 8- or 16-bit integers and back, exactly, once they are rounded."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Bits = Literal[8, 16, 32]

_DTYPES: dict[int, type[np.generic]] = {8: np.uint8, 16: np.uint16, 32: np.float32}


def stored_dtype(bits: Bits) -> np.dtype:
    """NumPy type of stored pixels."""
    return np.dtype(_DTYPES[bits])


def quantise(pixels: Tensor, bits: Bits) -> Tensor:
    """Round to the nearest of 2^bits levels in [0, 1]; the error is at most 1 / (2 (2^bits - 1)): 1/510 at 8 bits.

    Example:
        >>> (quantise(torch.tensor([0.5]), 8) * 255).item()
        128.0
    """
    if bits == 32:
        return pixels
    top = float(2**bits - 1)
    return pixels.clamp(0, 1).mul(top).round_().div_(top)


def encode(pixels: Tensor, bits: Bits) -> np.ndarray:
    """Rounded pixels -> integers (floats at 32 bits)."""
    if bits == 32:
        return pixels.numpy()
    return pixels.mul(float(2**bits - 1)).round_().numpy().astype(stored_dtype(bits))


def decode(stored: np.ndarray, bits: Bits) -> Tensor:
    """Integers -> float32 pixels, the same bits as `quantise` gave."""
    if bits == 32:
        return torch.from_numpy(np.array(stored))
    if bits == 8:
        return torch.from_numpy(np.array(stored)).to(torch.float32).div_(255.0)
    return torch.from_numpy(stored.astype(np.float32)).div_(65535.0)

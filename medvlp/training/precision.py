"""The number format of the towers, chosen with its reason, which is logged once."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Precision:
    """A number format for the towers and why. Terms are always float32 (float64 where the model is)."""

    device_type: str
    dtype: torch.dtype
    reason: str

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which towers run."""
        if self.dtype in (torch.float32, torch.float64):
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)


def choose_precision(wish: Literal["auto", "float32", "bfloat16"], device: torch.device) -> Precision:
    """Return the number format of the towers.

    Example:
        >>> choose_precision("float32", torch.device("cpu")).reason
        'asked for'
    """
    units = _has_bfloat16_units(device.type)
    if wish == "bfloat16" and device.type == "cpu" and not units:
        reason = "asked for; this processor computes it many times slower than float32, see training.precision: auto"
        return Precision(device.type, torch.bfloat16, reason)
    if wish != "auto":
        return Precision(device.type, getattr(torch, wish), "asked for")
    if units:
        return Precision(device.type, torch.bfloat16, f"this {device.type} has bfloat16 units")
    return Precision(device.type, torch.float32, f"this {device.type} has no bfloat16 units that torch is known to use")


def _has_bfloat16_units(device: str) -> bool:
    """Whether bfloat16 is computed as such: by a GPU from Ampere on, AVX-512 BF16 or AMX, else in slow steps."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in asked)

"""Masks by a U-Net, each for itself and one excluding the other."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import method
from tests.training.methods import images


def masks(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Bright and dark places of the images; every fourth has no mask."""
    pixels, rows = images(indices, dtype), torch.arange(len(indices))
    seen = indices % 4 != 3
    named = {"bright": pixels > 0.7, "dark": pixels < 0.3}
    columns = {"image": Column(pixels, rows)}
    return columns | {f"mask.{name}": Column(mask[:, 0][seen], rows[seen]) for name, mask in named.items()}


SPEC = {"name": "dice_ce", "labels": ["bright", "dark"], "decoder": {"name": "unet", "width": 8}}
CASES = {
    "each": method(SPEC, columns=masks),
    "exclusive": method({**SPEC, "exclusive": True}, columns=masks),
}

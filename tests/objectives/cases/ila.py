"""Cines of one to three frames through each encoder of frames: aligned, with messages, and as current and prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medvlp.core import Column
from tests.models.words import DUAL, VIT
from tests.objectives.cases import method, pairs
from tests.training.methods import images

SLICE = {**VIT, "image_size": 32, "options": {**VIT["options"], "patch_size": 8}}
CLIP = {"name": "clip", "image": "stack"}


def cines(indices: Tensor, dtype: torch.dtype, most: int = 3) -> dict[str, Column]:
    """Looks at a sample are its frames; some samples have fewer."""
    values = torch.stack([images(indices, dtype, look=look) for look in range(most)], dim=1)
    mask = torch.arange(most)[None] <= (indices % most)[:, None]
    columns = pairs(indices, dtype)
    stack = Column(values, torch.arange(len(indices)), mask=mask, position=torch.zeros(len(indices), most, 3))
    return {"stack": stack, **{name: column for name, column in columns.items() if name != "image"}}


def couples(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Every second sample has a prior."""
    return cines(indices, dtype, most=2)


def spec(name: str, *, video: bool, **options: Any) -> dict[str, Any]:
    heads = {
        "stack/video": {"name": "mit", "frames": 3, "heads": 2},
        "stack/raw": {"name": "projection", "reads": "video"},
    }
    return {**DUAL, "vision": {"name": name, "slice": SLICE, **options}, **({"heads": heads} if video else {})}


CASES = {
    "aligned": method({"name": "ila"}, CLIP, columns=cines, spec=spec("ila", video=True, hidden=4)),
    "messages": method(CLIP, columns=cines, spec=spec("x_clip", video=True)),
    "priors": method(CLIP, columns=couples, spec=spec("biovil_t", video=False, width=8, layers=1, heads=2)),
}

"""Stacks of three or four slices, and the slices as images for a frozen copy of the image tower."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.models.bank import Bank
from tests.models.words import VISION
from tests.objectives.cases import FINDINGS, UNTIL, method, pairs
from tests.objectives.cases.dito import GRID
from tests.training.methods import images


def volumes(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """`pairs`, and a stack of each sample beside it; a sixth has none."""
    rows = torch.tensor([row for row, index in enumerate(indices.tolist()) if index % 6], dtype=torch.int64)
    depth = 3 + indices[rows] % 2
    values = torch.stack([images(indices[rows], dtype, look=look) for look in range(1, 5)], dim=1)
    mask = torch.arange(4) < depth[:, None]
    values = values * mask[:, :, None, None, None]
    stack = Column(values, rows, mask, torch.zeros(len(rows), 4, 3))
    return pairs(indices, dtype) | {"stack": stack, "image.slices": Column(values[mask], rows.repeat_interleave(depth))}


STACK = {"name": "inflated", "slice": {**VISION, "options": {**VISION["options"], "output_stride": 8}}}
SPEC = {"name": "clip2scene", "teacher": "frozen", "bank": "regions", "labels": list(FINDINGS[:2])}
SPEC |= {"head": {"dim": 8, "width": 4}, "own_from": UNTIL // 3}
BANKS = {"regions": Bank("regions", ("nothing seen", *(f"{finding} seen" for finding in FINDINGS[:2])))}
CASES = {
    "slices": method(
        SPEC, spec={**GRID, "stack": STACK}, columns=volumes, states={"frozen": {"name": "frozen"}}, banks=BANKS
    )
}

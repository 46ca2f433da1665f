"""A set of boxes, matched to the true ones."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.models.words import DUAL, VIT
from tests.objectives.cases import method
from tests.training.methods import images


def boxed(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """One box in even samples, two in every fourth."""
    rows = torch.arange(len(indices))
    corner = (indices % 5 * 3).to(torch.float32)
    boxes = torch.stack([corner, corner + 2, corner + 12, corner + 16], dim=1)
    owner = torch.cat([rows[indices % 2 == 0], rows[indices % 4 == 0]])
    where = torch.cat([boxes[indices % 2 == 0], boxes[indices % 4 == 0] / 2])
    owner, order = owner.sort(stable=True)
    columns = {"image": Column(images(indices, dtype), rows)}
    return columns | {
        "boxes.disc": Column(where[order], owner),
        "label.disc": Column((indices % 2 == 0).to(dtype), rows),
    }


HEAD = {"name": "box_queries", "queries": 3, "layers": 2, "heads": 2, "dropout": 0.0}
CASES = {
    "discs": method(
        {"name": "box_set", "labels": ["disc"], "head": HEAD},
        columns=boxed,
        spec={**DUAL, "vision": {**VIT, "image_size": 32}},
    )
}

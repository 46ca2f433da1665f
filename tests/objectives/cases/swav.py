"""Two large crops in one view and small ones in another; with a queue, and with the report."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import method, pairs
from tests.training.methods import images


def crops(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Each sample has two large crops, and small ones: none, one or two."""
    rows = torch.arange(len(indices))
    small = torch.cat([torch.full((int(i) % 3,), row) for row, i in enumerate(indices.tolist())]).long()
    large = torch.stack([images(indices, dtype, look=look) for look in (0, 1)], dim=1).flatten(0, 1)
    local = images(indices, dtype, look=2)[small, :, :16, :16]
    return {
        **pairs(indices, dtype),
        "image.large": Column(large, rows.repeat_interleave(2)),
        "image.local": Column(local, small),
    }


SPEC = {"name": "swav", "prototypes": 5, "hidden": 8, "width": 6}
QUEUE = {"name": "queue", "reads": ["image.large/swav_rows"], "size": 16}
CASES = {
    "crops": method({**SPEC, "norm": "layer", "freeze": 8}, columns=crops),
    "queue": method({**SPEC, "queue": "queue"}, columns=crops, states={"queue": QUEUE}),
    "report": method({**SPEC, "assigners": ["image.large", "text"]}, columns=crops),
}

"""Pictures' own clusters, and those of the reports at the pictures' centroids."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.training.phases import Refresh
from tests.objectives.cases import method, pairs
from tests.training.methods import Method, images

OPTIONS = {"name": "interclr", "hidden": 12, "width": 6, "nearest": 8, "negatives": 4, "inter": 0.5}
STATES = {
    "ema": {"name": "ema", "horizon": 100.0},
    "queue": {"name": "queue", "reads": ["ema:image.second/interclr"], "size": 16},
}


def columns(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Pairs, and a second look at each picture."""
    second = Column(images(indices, dtype, look=1), torch.arange(len(indices)))
    return {**pairs(indices, dtype), "image.second": second}


def case(reads: list[str], **options: object) -> Method:
    """A run whose clusters are made once, before its first step."""
    clusters = {"name": "clusters", "reads": reads, "clusters": 3, "spherical": True}
    phases = [{"until": 32, "refresh": (Refresh(state="clusters", every=1000),)}]
    specs = ({"name": "clip"}, {**OPTIONS, **options})
    return method(*specs, columns=columns, phases=phases, states={**STATES, "clusters": clusters})


CASES = {
    "pictures": case(["ema:image/interclr"]),
    "reports": case(["image/interclr", "text/embedding"], labels_of="text"),
}

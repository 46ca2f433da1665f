"""A teacher that follows beside one that stands still, at their own scales; one at given scales; one that is stored."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.training.phases import Refresh
from tests.objectives.cases import UNTIL, method, pairs


def replayed(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Pairs of which each has one augmentation."""
    return {**pairs(indices, dtype), "id.replay": Column(("0 views",) * len(indices), torch.arange(len(indices)))}


CASES = {
    "ensemble": method(
        {"name": "affinity_mimicking", "teachers": ["ema", "frozen"], "own": 0.3},
        states={"ema": {"name": "ema", "horizon": 16.0}, "frozen": {"name": "frozen"}},
    ),
    "scales": method(
        {"name": "affinity_mimicking", "teachers": ["frozen"], "teacher_scale": 30.0, "scale": 10.0},
        states={"frozen": {"name": "frozen"}},
    ),
    "stored": method(
        {"name": "affinity_mimicking", "teachers": ["store"], "teacher_scale": 30.0, "own": 0.3},
        columns=replayed,
        states={"frozen": {"name": "frozen"}, "store": {"name": "stored", "teacher": "frozen"}},
        phases=[{"until": UNTIL, "refresh": [Refresh(state="store", every=1000)]}],
    ),
}

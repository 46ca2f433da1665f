"""Two looks at each sample, a third of the samples of known classes, and clusters found at the start and once again."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.training.phases import Refresh
from tests.objectives.cases import FINDINGS, UNTIL, method, pairs
from tests.training.methods import images


def views(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    rows, both = torch.arange(len(indices)), (("image.first", 1), ("image.second", 2))
    looks = {name: Column(images(indices, dtype, look=look), rows) for name, look in both}
    return {**pairs(indices, dtype), **looks}


# One prototype a class and one beside it: 24 samples and barely trained rows leave nothing to split.
STATE = {"name": "gpc", "labels": list(FINDINGS[:2]), "clusters": 4, "psi": 1.0}
CASES = {
    "discovery": method(
        {"name": "gpc", "hidden": 8, "width": 6},
        columns=views,
        phases=[{"until": UNTIL, "refresh": (Refresh(state="gpc", every=16),)}],
        states={"gpc": STATE},
    )
}

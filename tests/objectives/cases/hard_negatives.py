"""False copies of some reports beside the true ones."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import method, pairs


def copies(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Two false copies of every third report."""
    rows = (indices % 3 == 1).nonzero()[:, 0].repeat_interleave(2)
    words = tuple(f"{side} opacity" for side in ("left", "right"))
    found = tuple(words[i % 2] for i in range(len(rows)))
    return {**pairs(indices, dtype), **({"text.negative": Column(found, rows)} if found else {})}


CASES = {"copies": method({"name": "hard_negatives"}, columns=copies)}

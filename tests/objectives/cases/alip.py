"""Reports and captions, of which some samples lack one; running means that move fast enough to be seen."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import FINDINGS, method, pairs


def captioned(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Pairs with a caption of the same finding, or of another; every fifth sample has none."""
    there = [(row, i) for row, i in enumerate(indices.tolist()) if i % 5 != 4]
    words = tuple(f"{FINDINGS[(i // 3 + i % 2) % 4]} is present" for _, i in there)
    owner = torch.tensor([row for row, _ in there], dtype=torch.int64)
    return {**pairs(indices, dtype), "text.caption": Column(words, owner)}


CASES = {"captions": method({"name": "alip", "horizon": 40.0, "exclude": "same_patient"}, columns=captioned)}

"""Reports with a short text beside them, more images than components; and by other positives."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import method, pairs


def summed_up(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """The samples of `pairs`; every sixth has no short text."""
    columns = pairs(indices, dtype)
    there = [i for i, index in enumerate(indices.tolist()) if index % 6]
    words = tuple(str(columns["text"].values[i]).split()[1] for i in there)
    return {**columns, "text.short": Column(words, torch.tensor(there))}


CASES = {
    "own": method({"name": "long_clip", "components": 3}, columns=summed_up),
    "labels": method({"name": "long_clip", "components": 2, "positives": "shared_labels"}, columns=summed_up),
}

"""A teacher that is stored beside the samples, and one that encodes."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import method, pairs


def taught(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    rows = torch.arange(len(indices))
    vectors = [torch.randn(5, generator=torch.Generator().manual_seed(i % 12)) for i in indices.tolist()]
    return {**pairs(indices, dtype), "vector.teacher": Column(torch.stack(vectors).to(dtype), rows)}


CASES = {
    "stored": method({"name": "unime_distill", "teacher": "vector.teacher", "temperature": 0.2}, columns=taught),
    "frozen": method(
        {"name": "clip"},
        {"name": "unime_distill", "teacher": "before:text/embedding", "temperature": 0.2},
        states={"before": {"name": "frozen"}},
    ),
}

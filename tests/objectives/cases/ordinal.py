"""Grades, each a step above the one before."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import method, pairs


def graded(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    rows = torch.arange(len(indices))
    steps = {f"label.step{k}": Column((indices % 4 > k).to(dtype), rows) for k in range(3)}
    return {**pairs(indices, dtype), **steps}


CASES = {"steps": method({"name": "ordinal", "labels": ["step0", "step1", "step2"]}, columns=graded)}

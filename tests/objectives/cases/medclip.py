"""Findings that are known of all, by their number; and by their cosine, where of some nothing is known."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import FINDINGS, method, pairs


def partly_known(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Pairs of which every fifth has no label, and every seventh an uncertain one."""
    columns = pairs(indices, dtype)
    for finding in FINDINGS:
        column = columns[f"label.{finding}"]
        assert isinstance(column.values, Tensor)
        values = torch.where(indices % 7 == 3, -1.0, column.values)
        columns[f"label.{finding}"] = Column(torch.where(indices % 5 == 4, torch.nan, values).to(dtype), column.owner)
    return columns


CASES = {
    "dot": method({"name": "medclip", "labels": list(FINDINGS)}),
    "cosine": method(
        {"name": "medclip", "labels": list(FINDINGS), "similarity": "cosine", "temperature": 0.3}, columns=partly_known
    ),
}

"""Samples with drawn boxes: none, one or several of a finding, and some of which nobody knows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.models.bank import Bank
from tests.objectives.cases import FINDINGS, pairs

BANKS: Mapping[str, Bank] = {"findings": Bank("findings", tuple(f"{finding} seen" for finding in FINDINGS))}


def boxed(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """`pairs` with boxes of each finding in pixels of 32 by 32."""
    columns = pairs(indices, dtype)
    for place, finding in enumerate(FINDINGS):
        boxes, owner, known = [], [], []
        for sample, index in enumerate(indices.tolist()):
            known.append((index + place) % 5 != 0)
            for n in range((index + 2 * place) % 4 - 1 if known[-1] else 0):
                x, y = (index * 7 + place * 5) % 17 + n, (index * 3 + place * 11) % 15 + 2 * n
                boxes.append([x, y, x + 8 + n, y + 6 + place])
                owner.append(sample)
        columns[f"boxes.{finding}"] = Column(
            torch.tensor(boxes, dtype=dtype).view(-1, 4),
            torch.tensor(owner, dtype=torch.int64),
            known=torch.tensor(known),
            place=torch.zeros(len(owner), dtype=torch.int64),
        )
    return columns

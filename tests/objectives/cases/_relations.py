"""Samples with boxes and stated relations: some without a statement, some of which nothing is known."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.models.bank import Bank
from tests.objectives.cases import FINDINGS
from tests.objectives.cases._boxes import boxed

LABELS, VERBS = [*FINDINGS, "left_lung", "heart"], ["located_at", "suggestive_of"]
TEXTS = tuple(name.replace("_", " ") for name in (*LABELS, *VERBS))
VECTORS = torch.randn(len(TEXTS), 6, generator=torch.Generator().manual_seed(8))
BANKS: Mapping[str, Bank] = {"relations": Bank("relations", TEXTS, VECTORS, encoder="test")}
HEAD = {"queries": 5, "width": 8, "layers": 2, "heads": 2, "feedforward": 8, "encoder_layers": 2}
WORDS = {"labels": LABELS, "predicates": VERBS}


def related(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """`boxed`, boxes of the places, and a matrix of statements in four of five samples."""
    columns, rows, known = boxed(indices, dtype), [], []
    for sample, index in enumerate(indices.tolist()):
        matrix = torch.full((len(LABELS), 2, len(LABELS)), -1.0, dtype=dtype)
        for n in range(index % 4):  # none, one, two or three
            matrix[(index + n) % 4, (index + n) % 2, 4 + (index // 2 + n) % 2] = 1.0
        matrix[index % 4, (index + 1) % 2, 4] = 0.5
        if index % 5:
            rows.append(matrix.flatten())
            known.append(sample)
    every = torch.arange(len(indices))
    for place, name in enumerate(LABELS[4:]):
        low = (indices % 7 + 9.0 * place).to(dtype)
        columns[f"boxes.{name}"] = Column(torch.stack([low, low + 2, low + 9, low + 14], dim=1), every)
    owner = torch.tensor(known, dtype=torch.int64)
    made = torch.stack(rows) if rows else torch.zeros(0, len(LABELS) ** 2 * 2, dtype=dtype)
    return columns | {"vector.relations": Column(made, owner)}

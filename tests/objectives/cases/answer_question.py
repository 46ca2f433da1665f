"""A question about an image, answered from a list."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.models.words import DUAL, VIT
from tests.objectives.cases import FINDINGS, method, pairs


def questions(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Questions of most samples; some answers are on no list."""
    rows = (indices % 5 != 4).nonzero()[:, 0]
    asked = [int(i) for i in indices[rows]]
    columns = {name: column for name, column in pairs(indices, dtype).items() if name == "image"}
    if asked:
        columns["text.question"] = Column(tuple(f"is there {FINDINGS[i % 4]}" for i in asked), rows)
        columns["text.answer"] = Column(tuple(("yes", "no", "perhaps")[i % 3] for i in asked), rows)
    return columns


TOKENS = {**DUAL, "vision": {**VIT, "image_size": 32}}
SPEC = {"name": "answer_question", "answers": ["yes", "no"], "width": 16, "layers": 1, "heads": 2}
CASES = {"yes or no": method(SPEC, columns=questions, spec=TOKENS)}

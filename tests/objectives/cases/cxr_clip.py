"""Studies with one film or two, and a prompt made of labels beside the report."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import FINDINGS, method, pairs
from tests.training.methods import images


def studies(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    rows = torch.arange(len(indices))
    two = indices % 3 != 0
    prompts = tuple(FINDINGS[i // 3 % 4] if i % 3 != 2 else "normal" for i in indices.tolist())
    more = {"image.other": Column(images(indices[two], dtype, look=1), rows[two]), "text.prompt": Column(prompts, rows)}
    return {**pairs(indices, dtype), **more}


CASES = {
    "films": method({"name": "cxr_clip"}, columns=studies),
    "one_text": method({"name": "cxr_clip", "texts": ["text"], "positives": "own"}, columns=studies),
}

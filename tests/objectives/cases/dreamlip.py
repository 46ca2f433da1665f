"""Sentences of a report, one to three rows a sample, each with the patches that it groups."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.models.words import DUAL, VIT
from tests.objectives.cases import FINDINGS, method, pairs


def sentences(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Images with reports of one to three sentences, some of them the same in several reports."""
    rows = [(at, place) for at, i in enumerate(indices.tolist()) for place in range(1 + i % 3)]
    words = tuple(f"{FINDINGS[(int(indices[at]) // 3 + place) % 4]} seen" for at, place in rows)
    return {**pairs(indices, dtype), "text": Column(words, torch.tensor([at for at, _ in rows]))}


TOKENS = {**DUAL, "vision": {**VIT, "image_size": 32}}
CASES = {
    "whole": method({"name": "clip", "reading": "each"}, {"name": "dreamlip"}, columns=sentences, spec=TOKENS),
    "local": method({"name": "dreamlip", "threshold": None}, columns=sentences, spec=TOKENS),
}

"""Prompts of three views of an image, which agree."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.models.bank import Bank
from tests.models.words import DUAL, VIT
from tests.objectives.cases import FINDINGS, method, pairs


def views(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    columns = pairs(indices, dtype)
    pixels, rows = columns["image"].values, torch.arange(len(indices))
    assert isinstance(pixels, Tensor)
    return columns | {"image.strong": Column(1 - pixels, rows), "image.mixed": Column(pixels**2, rows)}


PROMPTS = {"name": "gopro", "kind": "text", "view": "bank.words", "tokens": 2}
CLASSIFY = {"name": "classify", "labels": list(FINDINGS), "head": {"name": "text_classifier", "bank": "words"}}
CASES = {
    "prompts": method(
        CLASSIFY,
        {"name": "gopro", "simclr": 0.5},
        columns=views,
        spec={**DUAL, "vision": {**VIT, "image_size": 32}, "patches": [PROMPTS]},
        banks={"words": Bank("words", FINDINGS)},
    )
}

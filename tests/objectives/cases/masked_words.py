"""Hidden words of every report, with the picture's help and from the text alone."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import UNTIL, method, pairs

PATCHES = [{"name": "mask_words", "view": "text.masked", "rate": 0.4}]


def columns(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Reports of five to ten words, and their copies."""
    found = pairs(indices, dtype)
    texts = found["text"].values
    assert not isinstance(texts, Tensor)
    longer = tuple(
        f"{text} and nothing else is there"[: 18 + i] for text, i in zip(texts, indices.tolist(), strict=True)
    )
    return {**found, "text.masked": Column(longer, found["text"].owner)}


PHASES = [{"until": UNTIL, "patches": PATCHES}]
CASES = {
    "pictures": method({"name": "clip"}, {"name": "masked_words"}, columns=columns, phases=PHASES),
    "texts": method({"name": "masked_words", "image": None}, columns=columns, phases=PHASES),
}

"""Vectors of the words that stand in a text: no weights, no download, the same on every machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from medvlp.core.randomness import numpy_generator
from medvlp.core.registry import FromModel
from medvlp.models.text_vectors import TextVectors


def hashed_words(
    *,
    texts: Annotated[Sequence[str], FromModel("texts")],
    width: Annotated[int, Field(ge=1)] = 256,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> TextVectors:
    """Sum a random direction for each distinct word of at least three letters; rows have the length sqrt(width).

    Texts are alike as far as they share words. It stands in for a clinical language model where none is at hand: in
    tests, tutorials and the synthetic hospital.

    Args:
        width: D.
        seed: another seed, other directions.

    Example:
        >>> found = hashed_words(texts=["air in the lung", "air beside the lung", "a broken rib"], width=64).vectors
        >>> bool(found[0] @ found[1] > found[0] @ found[2]), round(float(found[0].norm()))
        (True, 8)
    """
    rows = np.stack([_vector(text, width, seed) for text in texts])
    rows *= np.sqrt(width) / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return TextVectors(torch.from_numpy(rows.astype(np.float32)), f"hashed_words width={width} seed={seed}")


def _vector(text: str, width: int, seed: int) -> np.ndarray:
    words = sorted(set(re.findall(r"[^\W_]{3,}", text.lower()))) or [text]
    return np.sum([numpy_generator(seed, 0, f"word {word}").standard_normal(width) for word in words], axis=0)

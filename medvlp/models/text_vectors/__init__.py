"""Frozen encoders of texts, one a file: what turns a bank's sentences into constant vectors, once a run.

A component is a function ``(texts, options) -> TextVectors``. Its vectors are stored with every model that reads them,
so that a model never depends on an encoder that may change or be lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["TextVectors"]


@dataclass(frozen=True, eq=False)
class TextVectors:
    """Text embeddings with the name and version of their encoder.

    Attributes:
        vectors: (C, D) float32, one row a text, without gradient.
        encoder: name and, where there are weights, their hash: equal names mean equal vectors for equal texts.
    """

    vectors: Tensor
    encoder: str

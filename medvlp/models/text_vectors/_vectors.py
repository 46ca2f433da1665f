"""What a frozen encoder of texts returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class TextVectors:
    """Vectors and who made them.

    Attributes:
        vectors: (C, D) float32, one row a text, without gradient.
        encoder: name and, where there are weights, their hash: equal names mean equal vectors for equal texts.
    """

    vectors: Tensor
    encoder: str

"""The dot product of unit vectors: cosine similarity."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from medvlp.core.protocols import Score


class Dot(Score):
    """f(v, t) = v . t for unit vectors, in [-1, 1].

    Example:
        >>> import torch
        >>> Dot()({"embedding": torch.eye(2)}, {"embedding": torch.eye(2)[:1]}).tolist()
        [[1.0], [0.0]]
    """

    reads = ("embedding",)
    cosine = True

    def forward(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> Tensor:
        """Return (R, C) from embeddings (R, D) and (C, D)."""
        return rows["embedding"] @ columns["embedding"].T

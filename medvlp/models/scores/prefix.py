"""Cosine of the first part of two embeddings: what a nested embedding is searched by when memory is short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Score


class Prefix(Score):
    r"""f(v, t) = cos(v_{1:m}, t_{1:m}) with m = D / 2^h: the first half, quarter, ... of the embeddings.

    Only an embedding that was trained for it (`matryoshka`) has most of what it knows in front. A released model is cut
    for good by the surgery `keep_prefix`, after which all is the plain cosine again.

    Args:
        halvings: h; 0 is `dot`.

    References:
        Kusupati et al. 2022, section 3: embeddings of unit length are brought to it prefix by prefix.

    Example:
        >>> import torch
        >>> rows = {"embedding": torch.tensor([[0.6, 0.0, 0.8, 0.0]])}
        >>> Prefix(halvings=1)(rows, {"embedding": torch.tensor([[0.0, 0.6, 0.8, 0.0], [1.0, 0.0, 0.0, 0.0]])}).tolist()
        [[0.0, 1.0]]
    """

    reads = ("embedding",)

    def __init__(self, *, halvings: Annotated[int, Field(ge=0)] = 1) -> None:
        super().__init__()
        self.halvings = halvings

    def forward(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> Tensor:
        """Return (R, C) from embeddings (R, D) and (C, D).

        Raises:
            ConfigError: if nothing is left of them.
        """
        return self._first(rows["embedding"]) @ self._first(columns["embedding"]).T

    def both_ways(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See `Score`: it is symmetric."""
        scores = self(rows, columns)
        return scores, scores.T

    def _first(self, embedding: Tensor) -> Tensor:
        width = embedding.shape[1] >> self.halvings
        if not width:
            raise ConfigError(
                f"An embedding of {embedding.shape[1]} numbers cannot be halved {self.halvings} times: set halvings to "
                "less."
            )
        return unit(embedding[:, :width]) if self.halvings else embedding

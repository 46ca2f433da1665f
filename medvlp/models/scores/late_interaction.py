"""Late interaction of tokens: FILIP (Yao et al. 2022, eq. 4 and 5) and ColBERT (Khattab and Zaharia 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import unit
from medvlp.core.protocols import HeadSpec, Score

__all__ = ["LateInteraction"]


class LateInteraction(Score):
    """f(v, t) = mean over real tokens i of v of max over real tokens l of t of cos(v_i, t_l).

    It is not symmetric: with images as rows it is FILIP's image-to-text score, with texts as rows its text-to-image
    score. All real tokens take part; FILIP's choice of the 25 % that score highest in the batch is not made. Cosines
    are formed for a few rows at a time and only the winners' indices are kept: memory is R C N instead of R C N L.

    Args:
        tile: cosines formed at a time.

    Example:
        >>> tokens = {"local": torch.eye(2)[None], "mask": torch.ones(1, 2, dtype=torch.bool)}
        >>> LateInteraction()(tokens, tokens).tolist()
        [[1.0]]
    """

    reads = ("local", "mask")
    by_token = True

    def __init__(self, *, tile: Annotated[int, Field(ge=1)] = 2**24) -> None:
        super().__init__()
        self.tile = tile

    def heads(self) -> Mapping[str, HeadSpec]:
        """Return the projection of tokens into the common space; it stays in the bundle."""
        return {"local": HeadSpec("projection", {"reads": "tokens"}, keep=True)}

    def forward(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> Tensor:
        """Return (R, C) of ``local`` (R, N, D), (C, L, D) and ``mask`` (R, N), (C, L); columns of padding score 0."""
        own, other = unit(rows["local"]), unit(columns["local"])
        mask, real = rows["mask"].to(own.dtype), columns["mask"]
        per_row = own.shape[1] * other.shape[0] * other.shape[1]
        scores = [
            _score(part, weight, other, real)
            for part, weight in zip(*(t.split(max(1, self.tile // max(per_row, 1))) for t in (own, mask)), strict=True)
        ]
        return torch.cat(scores) if scores else own.new_zeros(0, other.shape[0])


def _score(own: Tensor, weight: Tensor, other: Tensor, real: Tensor) -> Tensor:
    """Return (r, C) for own (r, N, D) with weight (r, N) and other (C, L, D) with real (C, L)."""
    rows, tokens, width = own.shape
    columns, length, _ = other.shape
    cosines = (own.reshape(-1, width) @ other.reshape(-1, width).T).view(rows, tokens, columns, length)
    best = cosines.masked_fill(~real, float("-inf")).max(dim=3).values  # (r, N, C)
    best = best.masked_fill(~real.any(dim=1), 0.0)
    return (best * weight[:, :, None]).sum(dim=1) / weight.sum(dim=1, keepdim=True).clamp(min=1)

"""Late interaction of tokens: FILIP (Yao et al. 2022, eq. 4 and 5) and ColBERT (Khattab and Zaharia 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd.function import once_differentiable

from medvlp.core.encoded import unit
from medvlp.core.protocols import HeadSpec, Score


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
        there = columns["mask"].any(dim=1)
        parts = [
            _mean(torch.where(there, cosines.max(dim=3).values, 0.0), mask)
            for cosines, mask in self._cosines(rows, columns)
        ]
        return torch.cat(parts)

    def both_ways(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See `Score`: the cosines are formed once, and each side takes its own maxima of them."""
        other = columns["mask"]
        forth, back = [], []
        for cosines, mask in self._cosines(rows, columns):
            of_rows, of_columns = _Maxima.apply(cosines)
            forth.append(_mean(torch.where(other.any(dim=1), of_rows, 0.0), mask))
            back.append(_mean(torch.where(mask.any(dim=1), of_columns, 0.0), other))
        return torch.cat(forth), torch.cat(back, dim=1)

    def _cosines(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield cosines (r, N, C, L) of a few rows at a time with the mask of their tokens (r, N).

        Without a row one of none is yielded: what other processes gave stays part of the graph.
        """
        own, other = (_with_padding(side, first) for side, first in ((rows, True), (columns, False)))
        step = max(1, self.tile // max(own.shape[1] * other.shape[0] * other.shape[1], 1))
        flat = other.flatten(0, 1).T
        for part, mask in zip(own.split(step), rows["mask"].split(step), strict=True):
            yield (part.flatten(0, 1) @ flat).view(*part.shape[:2], *other.shape[:2]), mask


_FAR = -1e4  # added to what padding has to do with: never a maximum beside a cosine


def _with_padding(side: Mapping[str, Tensor], first: bool) -> Tensor:
    """Return unit tokens (R, N, D + 2) whose products with the other side's are cosines, and far lower at padding."""
    tokens = unit(side["local"])
    far = torch.where(side["mask"], 0.0, _FAR).to(tokens.dtype)
    beside = (far, torch.ones_like(far)) if first else (torch.ones_like(far), far)
    return torch.cat([tokens, torch.stack(beside, dim=2)], dim=2)


def _mean(best: Tensor, mask: Tensor) -> Tensor:
    """Return the means (r, C) of (r, N, C) over the real tokens (r, N) of rows."""
    weight = mask.to(best.dtype)
    found = torch.where(mask[:, :, None], best, 0.0).sum(dim=1)
    return found / weight.sum(dim=1, keepdim=True).clamp(min=1)


class _Maxima(torch.autograd.Function):
    """Maxima of (r, N, C, L) over L, (r, N, C), and over N, (C, L, r); of both only the winners' places are kept."""

    @staticmethod
    def forward(ctx: Any, cosines: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        of_rows, first = cosines.max(dim=3)
        of_columns, second = cosines.max(dim=1)
        ctx.save_for_backward(first, second)
        ctx.shape = cosines.shape
        return of_rows, of_columns.permute(1, 2, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ANN401  # pyrefly: ignore
        first, second = ctx.saved_tensors
        found = grads[0].new_zeros(ctx.shape)
        found.scatter_(3, first[..., None], grads[0][..., None])
        return found.scatter_add_(1, second[:, None], grads[1].permute(2, 0, 1)[:, None])

"""What a loss of rows of scores is given: checked, of all rows or tile by tile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medvlp.core.encoded import promoted
from medvlp.core.term import Term
from medvlp.objectives._similarity import Similarity
from medvlp.objectives._tiles import by_tiles

Rowwise = Tensor | Callable[[slice], Tensor]  # of R rows, or what makes it of some of them


def rowwise_by_tiles(
    loss: Callable[..., Term], scores: Similarity, target: Rowwise, exclude: Rowwise | None, row_weight: Tensor | None
) -> Term:
    """Return a loss of scores that are not computed yet; functions are asked for what they give of a tile's rows."""
    given = {"target": target, "exclude": exclude, "row_weight": row_weight}
    asked = {name: each for name, each in given.items() if each is not None and not isinstance(each, Tensor)}
    there = {name: each for name, each in given.items() if isinstance(each, Tensor)}
    for name, each in there.items():
        if len(each) != scores.shape[0]:
            raise ValueError(f"{name} has {len(each)} rows, and the scores have {scores.shape[0]}.")

    def term(z: Tensor, part: slice, *beside: Tensor) -> Term:
        options = {name: make(part) for name, make in asked.items()} | dict(zip(there, beside, strict=True))
        return loss(z, **options)

    return by_tiles(scores, term, beside=list(there.values()))


def whole(rowwise: Rowwise) -> Tensor:
    """Return what is given of all rows."""
    return rowwise if isinstance(rowwise, Tensor) else rowwise(slice(None))


def cleared(z: Tensor, exclude: Tensor | None, row_weight: Tensor | None) -> Tensor:
    """Check shapes and put zeros where a row does not count: zero times the gradient of an inf or NaN would be NaN."""
    if z.dim() != 2:
        raise ValueError(f"Scores are (R, C), not {tuple(z.shape)}.")
    z = promoted(z)
    if exclude is not None and (exclude.dtype != torch.bool or exclude.shape != z.shape):
        raise ValueError(f"exclude is bool (R, C) = {tuple(z.shape)}, not {exclude.dtype} {tuple(exclude.shape)}.")
    if row_weight is not None and row_weight.shape != z.shape[:1]:
        raise ValueError(f"row_weight is (R,) = {tuple(z.shape[:1])}, not {tuple(row_weight.shape)}.")
    return z if row_weight is None else torch.where((row_weight != 0)[:, None], z, 0.0)


def check_target(z: Tensor, target: Tensor) -> None:
    """Refuse a target of another shape than the scores."""
    if target.shape != z.shape:
        raise ValueError(f"A target over columns is (R, C) = {tuple(z.shape)}, not {tuple(target.shape)}.")

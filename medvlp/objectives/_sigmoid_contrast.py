"""The contrast of SigLIP (Zhai et al. 2023): each pair of a row and a column is a yes-or-no question."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from medvlp.core.term import Term
from medvlp.objectives._masked_softmax import any_of
from medvlp.objectives._rowwise import Rowwise, check_target, cleared, rowwise_by_tiles, whole
from medvlp.objectives._similarity import Similarity


def sigmoid_contrast(
    scores: Tensor | Similarity, target: Rowwise, *, exclude: Rowwise | None = None, row_weight: Tensor | None = None
) -> Term:
    """Sum over rows and columns of -log sigmoid(y z), y = 1 for positives and -1 for the rest; count is rows.

    Args:
        scores: (R, C), already scaled and shifted; or a `Similarity`.
        target: bool (R, C), positives, or int (R,), the only positive's column, negative for none, or what gives those
            of a slice; a row without any is all negatives and counts.
        exclude: the same of pairs left out; a row with no pair left adds nothing to sum and count.
        row_weight: (R,), not negative.

    Raises:
        ValueError: if shapes disagree or the target is a distribution.

    References:
        Zhai et al. 2023 (SigLIP), section 3.2.

    Example:
        >>> sigmoid_contrast(torch.zeros(2, 2), torch.eye(2, dtype=torch.bool)).value().item()  # 2 log 2
        1.3862943649291992
    """
    if isinstance(scores, Similarity):
        return rowwise_by_tiles(sigmoid_contrast, scores, target, exclude, row_weight)
    target, exclude = whole(target), None if exclude is None else whole(exclude)
    z = cleared(scores, exclude, row_weight)
    if target.dtype.is_floating_point:
        raise ValueError(f"The target of sigmoid_contrast is bool (R, C) or int (R,), not {target.dtype}.")
    if target.dtype == torch.bool:
        check_target(z, target)
    elif target.shape != z.shape[:1]:
        raise ValueError(f"An index target is (R,) = {tuple(z.shape[:1])}, not {tuple(target.shape)}.")
    weight = z.new_full(z.shape[:1], 1.0 if z.shape[1] else 0.0)
    if exclude is not None:
        weight = any_of(~exclude).to(z.dtype) if z.shape[1] else weight
    loss = _Sigmoid.apply(z, target, exclude)
    return Term.of(loss, weight if row_weight is None else weight * row_weight.to(z.dtype))


class _Sigmoid(torch.autograd.Function):
    """Sum over columns of -log sigmoid(y z), (R,), y = 1 of positives and -1 of the rest, without what is left out.

    Beside the scores only masks are there for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, positive: Tensor, exclude: Tensor | None) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(z, positive, exclude)
        # From 40 on the logarithm is the score itself, in double precision too.
        if positive.dtype == torch.bool:
            loss = F.softplus(torch.where(positive, -z, z), threshold=40)
        else:
            loss = F.softplus(z, threshold=40)
            if z.shape[1]:
                column = positive.clamp(min=0)[:, None]
                own = z.gather(1, column)
                own = torch.where((positive >= 0)[:, None], -own, own)
                loss.scatter_(1, column, F.softplus(own, threshold=40))
        return (loss if exclude is None else loss.masked_fill_(exclude, 0.0)).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401  # pyrefly: ignore
        z, positive, exclude = ctx.saved_tensors
        factor = grads[0][:, None]
        found = z.sigmoid().mul_(factor)
        if positive.dtype == torch.bool:
            found -= torch.where(positive, factor, 0.0)
        elif z.shape[1]:
            found.scatter_add_(1, positive.clamp(min=0)[:, None], -factor * (positive >= 0)[:, None])
        return found if exclude is None else torch.where(exclude, 0.0, found), None, None

"""Mean, logsumexp, softmax and cross entropy over those columns of score matrices that a mask allows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medvlp.objectives import _similarity


class CrossEntropy(torch.autograd.Function):
    """lse_D(z) - (1 - e) w t z - e mean_A z of each row, (R,); the gradient, softmax_D - (1 - e) w t - e 1_A / |A|.

    The target t is bool or float (R, C), or the column (R, 1) of its only 1; w (R,) scales its rows, e smooths, D and A
    are bool (R, C), None of all columns. Of (R, C) numbers the softmax and what is given are there for the backward
    pass.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        z: Tensor,
        target: Tensor,
        share: Tensor,
        within: Tensor | None,
        allowed: Tensor | None,
        smoothing: float,
    ) -> Tensor:
        whole, softmax = masked_softmax(z, within)
        if target.dtype == torch.int64:
            own = z.gather(1, target)[:, 0]
        elif target.dtype == torch.bool:
            own = torch.where(target, z, 0.0).sum(dim=1)
        else:
            own = torch.einsum("rc,rc->r", z, target)
            if own.isnan().any():  # a column of probability 0 may hold a score of -inf
                own = torch.where(target > 0, z, 0.0).mul_(target).sum(dim=1)
        taught = z if ctx.needs_input_grad[1] else None
        ctx.save_for_backward(softmax, target, share, allowed, own, taught)
        ctx.smoothing = smoothing
        loss = whole - (1 - smoothing) * share * own
        return loss if not smoothing else loss - smoothing * masked_mean(z, allowed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  # pyrefly: ignore
        softmax, target, share, allowed, own, z = ctx.saved_tensors
        factor = grads[0][:, None]
        of_own = (ctx.smoothing - 1) * share[:, None] * factor
        found = softmax * factor
        if target.dtype == torch.int64:
            found.scatter_add_(1, target, of_own)
        elif target.dtype == torch.bool:
            found += torch.where(target, of_own, 0.0)
        else:
            found.addcmul_(target, of_own)
        if ctx.smoothing:
            every = torch.ones_like(found, dtype=torch.bool) if allowed is None else allowed
            found -= torch.where(every, ctx.smoothing * factor / every.sum(dim=1, keepdim=True).clamp(min=1), 0.0)
        of_target = of_own * torch.where(target > 0, z, 0.0) if z is not None else None
        of_share = (ctx.smoothing - 1) * grads[0] * own if ctx.needs_input_grad[2] else None
        return found, of_target, of_share, None, None, None


def masked_mean(z: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the columns of a mask, (R,); 0 of a row without any."""
    return z.mean(dim=1) if mask is None else torch.where(mask, z, 0.0).sum(dim=1) / count_of(mask).clamp(min=1)


def masked_logsumexp(z: Tensor, mask: Tensor | None) -> Tensor:
    """Logsumexp over the columns of a mask, (R,); a row without any is evaluated on zeros, for the caller to drop."""
    if mask is None:
        return z.logsumexp(dim=1)
    fill = torch.where(any_of(mask)[:, None], -torch.inf, 0.0).to(z.dtype)
    return torch.where(mask, z, fill).logsumexp(dim=1)


def masked_softmax(z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return logsumexp (R,) and softmax (R, C) over the columns of a mask; the caller drops rows without any.

    One pass makes both: the largest entry of a softmax is 1 over the sum that the logarithm is of.
    """
    z = z if mask is None else torch.where(mask, z, torch.finfo(z.dtype).min)
    # A transposed matrix is reduced over the axis that it has: the kernel of the other would copy it first.
    softmax = z.softmax(dim=1) if z.is_contiguous() else z.T.softmax(dim=0).T
    return z.amax(dim=1) - softmax.amax(dim=1).log(), softmax


def any_of(mask: Tensor) -> Tensor:
    """Whether a row of a mask has any column, (R,): many times as fast as any() on a CPU."""
    return mask.view(torch.uint8).amax(dim=1) > 0


def count_of(mask: Tensor) -> Tensor:
    """How many columns a row of a mask has, int32 (R,): twice as fast as sum() on a CPU, which copies it to int64."""
    return mask.view(torch.uint8).sum(dim=1, dtype=torch.int32)


def log_partition(rows: Tensor, columns: Tensor, weight: Tensor) -> Tensor:
    r"""Return sum_i w_i log sum_j exp(a_i . b_j), a number, without ever holding the scores of all rows.

    With p_i the softmax of row i its gradient is w_i sum_j p_ij b_j for a_i and sum_i w_i p_ij a_i for b_j. Both are
    made beside the value, from the one softmax of a tile.

    Args:
        rows: a, (R, D).
        columns: b, (C, D).
        weight: w, (R,), constant.

    Example:
        >>> round(log_partition(torch.zeros(2, 3), torch.eye(3), torch.ones(2)).item(), 4)  # 2 log 3
        2.1972
    """
    return _LogPartition.apply(rows, columns, weight)


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, columns: Tensor, weight: Tensor) -> Tensor:  # noqa: ANN401
        weighted = rows * weight[:, None]
        total = rows.new_zeros(())
        of_rows, of_columns = torch.zeros_like(rows), torch.zeros_like(columns)
        entries = _similarity.TILE
        if rows.device.type == "cpu":
            entries = min(_similarity.in_cache(len(rows) * len(columns)), entries)
        step = max(1, entries // len(columns))
        for part in (slice(start, start + step) for start in range(0, len(rows), step)):
            whole, softmax = masked_softmax(rows[part] @ columns.T, None)
            total += whole @ weight[part]
            if ctx.needs_input_grad[0]:
                torch.mm(softmax, columns, out=of_rows[part])
            if ctx.needs_input_grad[1]:
                of_columns.addmm_(softmax.T, weighted[part])
        ctx.save_for_backward(of_rows.mul_(weight[:, None]), of_columns)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  # pyrefly: ignore
        of_rows, of_columns = ctx.saved_tensors
        return of_rows * grads[0], of_columns * grads[0] if ctx.needs_input_grad[1] else None, None

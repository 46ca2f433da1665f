"""What the softmax of many rows over learned vectors divides by, and its gradient: a tile of rows at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medvlp.objectives import _similarity
from medvlp.objectives._masked_softmax import masked_softmax
from medvlp.objectives._similarity import CACHED


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
        entries = min(CACHED, _similarity.TILE) if rows.device.type == "cpu" else _similarity.TILE
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

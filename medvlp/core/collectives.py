"""All communication between processes, in one file and autograd-aware; without a process group everything is identity.

Gradients: with the loss of rank r being ``world * sum_r / count_all`` and gradients averaged over ranks, what the
backward of `gather_rows` must return to a rank is the plain sum over ranks of the gradients with respect to its rows.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

T = TypeVar("T")


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's index; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


def total(value: Tensor) -> Tensor:
    """Return the sum over processes, without gradient."""
    value = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def average_(tensors: list[Tensor]) -> None:
    """Average tensors over processes in place, as one flat message a dtype."""
    if world_size() == 1:
        return
    for dtype in sorted({t.dtype for t in tensors}, key=str):
        group = [t for t in tensors if t.dtype == dtype]
        flat = torch.cat([t.reshape(-1) for t in group])
        dist.all_reduce(flat)
        flat /= world_size()
        for tensor, piece in zip(group, flat.split([t.numel() for t in group]), strict=True):
            tensor.copy_(piece.view_as(tensor))


def gather_objects(value: T) -> list[T]:
    """Return every process's value, in rank order.

    Only for small plain data made by this program: torch sends it pickled between the processes of one run.
    """
    if world_size() == 1:
        return [value]
    out: list[Any] = [None] * world_size()
    dist.all_gather_object(out, value)
    return out


def broadcast_object(value: T) -> T:
    """Return rank 0's value everywhere."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_rows(values: Tensor) -> Tensor:
    """Concatenate (R_r, ...) of all processes in rank order -> (sum of R_r, ...), with exact gradients.

    The number of rows may differ between processes; trailing shape and dtype may not. Only floating tensors carry a
    gradient.
    """
    if world_size() == 1:
        return values
    if values.dtype == torch.bool:
        return gather_rows(values.to(torch.uint8)).bool()
    if values.dtype.is_floating_point:
        return _GatherRows.apply(values)
    return _all_gather(values)[0]


def _all_gather(values: Tensor) -> tuple[Tensor, list[int]]:
    counts = [torch.zeros(1, dtype=torch.int64, device=values.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([values.shape[0]], dtype=torch.int64, device=values.device))
    sizes = [int(count) for count in counts]
    # gloo and nccl both need equal shapes: pad to the longest, cut after.
    padded = values.new_zeros((max(sizes), *values.shape[1:]))
    padded[: values.shape[0]] = values.detach()
    pieces = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(pieces, padded.contiguous())
    return torch.cat([piece[:size] for piece, size in zip(pieces, sizes, strict=True)]), sizes


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor) -> Tensor:
        gathered, sizes = _all_gather(values)
        ctx.start = sum(sizes[: rank()])  # pyrefly: ignore
        ctx.rows = values.shape[0]  # pyrefly: ignore
        return gathered

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # noqa: ANN401
        grad = grad_outputs[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad[ctx.start : ctx.start + ctx.rows]  # pyrefly: ignore

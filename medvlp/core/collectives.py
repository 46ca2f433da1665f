"""All communication between processes, in one file and autograd-aware; without a process group everything is identity.

Gradients: with the loss of rank r being ``world * sum_r / count_all`` and gradients averaged over ranks, what the
backward of `gather_rows` must return to a rank is the plain sum over ranks of the gradients with respect to its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's index; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def device_of(model: nn.Module | None) -> torch.device:
    """Return the device on which sums travel between processes: the model's.

    The CPU without a model, and on mps, which has no float64 for sums.

    Example:
        >>> device_of(nn.Linear(1, 1))
        device(type='cpu')
    """
    device = None if model is None else next((parameter.device for parameter in model.parameters()), None)
    return torch.device("cpu") if device is None or widest(device) != torch.float64 else device


def widest(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on mps, which has none."""
    return torch.float32 if device.type == "mps" else torch.float64


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


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor of which each process holds some rows (a DTensor) whole; any other as it is."""
    if world_size() == 1:
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def average_gradients_(parameters: Sequence[Tensor]) -> None:
    """Average gradients over processes in place, as one message a dtype; one that no process has stays none."""
    if world_size() == 1:
        return
    for dtype in sorted({p.dtype for p in parameters}, key=str):
        group = [p for p in parameters if p.dtype == dtype]
        there = torch.tensor([p.grad is not None for p in group], dtype=dtype, device=group[0].device)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
        flat = torch.cat([*(grad.reshape(-1) for grad in grads), there])
        dist.all_reduce(flat)
        *pieces, there = flat.split([*(p.numel() for p in group), len(group)])
        # The host reads what others have only where this process lacks one itself.
        used = [True] * len(group) if all(p.grad is not None for p in group) else (there > 0).tolist()
        for parameter, piece, anywhere in zip(group, pieces, used, strict=True):
            if anywhere:
                parameter.grad = (piece / world_size()).view_as(parameter)


def gather_objects(value: T) -> list[T]:
    """Return every process's value, in rank order.

    Only for small plain data made by this program: torch sends it pickled between the processes of one run.
    """
    if world_size() == 1:
        return [value]
    out: list[Any] = [None] * world_size()
    dist.all_gather_object(out, value)
    return out


def gather_list(values: Sequence[T]) -> list[T]:
    """Return the values of all processes as one list, in rank order; see `gather_objects`."""
    return [each for part in gather_objects(list(values)) for each in part]


def broadcast_object(value: T) -> T:
    """Return rank 0's value everywhere."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_equal(values: Tensor) -> Tensor:
    """Return the tensors of all processes in rank order, (W, ...), without gradient; their shapes must be equal."""
    own = values.detach().contiguous()
    if world_size() == 1:
        return own[None]
    found = own.new_empty(world_size(), *own.shape)
    dist.all_gather(list(found), own)
    return found


def pass_on(values: Tensor) -> Callable[[], Tensor]:
    """Begin to send a tensor to the process before this one; return what waits for that of the process after it.

    All processes must call it, with tensors of one shape; the last passes to the first. No gradient.
    """
    found, own, world = torch.empty_like(values), rank(), world_size()
    sent = dist.P2POp(dist.isend, values, (own - 1) % world), dist.P2POp(dist.irecv, found, (own + 1) % world)
    works = dist.batch_isend_irecv(list(sent))

    def arrived() -> Tensor:
        for work in works:
            work.wait()
        return found

    return arrived


def gather_rows(values: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """Concatenate (R_r, ...) of all processes in rank order -> (sum of R_r, ...), with exact gradients.

    The number of rows may differ between processes; trailing shape and dtype may not. Only floating tensors carry a
    gradient.

    Args:
        values: own rows.
        counts: rows of each process, where they are known; else a message tells them.
    """
    return gather_together([values], None if counts is None else [counts])[0]


def gather_together(values: Sequence[Tensor], counts: Sequence[Sequence[int]] | None = None) -> list[Tensor]:
    """Do what `gather_rows` does for several tensors of one dtype, as one message each way."""
    if world_size() == 1:
        return list(values)
    if values[0].dtype == torch.bool:
        return [rows.bool() for rows in gather_together([each.to(torch.uint8) for each in values], counts)]
    if counts is None:
        own = torch.tensor([len(each) for each in values], device=values[0].device)
        counts = gather_equal(own).T.tolist()
    return list(_Gather.apply(counts, *values))


class _Gather(torch.autograd.Function):
    """One flat message of all tensors of a process, padded to the longest: gloo and nccl both need equal shapes.

    Back goes to each process what belongs to its rows, half of what an all-reduce of everybody's would send.
    """

    @staticmethod
    def forward(ctx: Any, counts: Sequence[Sequence[int]], *values: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        ctx.counts = counts
        sizes = [prod(each.shape[1:]) for each in values]
        by_process = [[n * size for n, size in zip(each, sizes, strict=True)] for each in zip(*counts, strict=True)]
        ctx.lengths = lengths = [sum(each) for each in by_process]
        own = _flat([each.detach() for each in values])
        every = gather_equal(nn.functional.pad(own, (0, max(lengths) - len(own))))
        if len(values) == 1 and len(set(lengths)) == 1:
            return (every.view(sum(counts[0]), *values[0].shape[1:]),)
        pieces = [row[: sum(each)].split(each) for row, each in zip(every, by_process, strict=True)]
        whole = zip(values, counts, zip(*pieces, strict=True), strict=True)
        return tuple(torch.cat(found).view(sum(count), *each.shape[1:]) for each, count, found in whole)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        by_process = zip(*(grad.split(list(count)) for grad, count in zip(grads, ctx.counts, strict=True)), strict=True)
        every = _flat(grads) if len(grads) == 1 else _flat([piece for each in by_process for piece in each])
        own = ctx.lengths[rank()]
        found = every.new_empty(world_size() * own)
        dist.all_to_all_single(found, every, [own] * world_size(), ctx.lengths)
        shapes = [(count[rank()], *grad.shape[1:]) for grad, count in zip(grads, ctx.counts, strict=True)]
        pieces = found.view(world_size(), own).sum(dim=0).split([prod(shape) for shape in shapes])
        return None, *(piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    if len(tensors) == 1:  # nothing to copy, unless one number stands for many, as in the gradient of a sum
        return tensors[0].reshape(-1).contiguous()
    return torch.cat([each.reshape(-1) for each in tensors])

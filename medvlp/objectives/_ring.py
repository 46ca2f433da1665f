"""A sum over pairs of own rows and everybody's columns, which are passed round between processes and never gathered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from medvlp.core import collectives


def by_ring(
    block: Callable[[Tensor, Tensor, int], Tensor],
    rows: Tensor,
    columns: Tensor,
    counts: Sequence[int],
    parameters: Sequence[Tensor] = (),
) -> Tensor:
    """Sum what is made of own rows with the columns of each process in turn.

    Each process passes the columns that it holds to the one before it while it computes with them, and after them their
    gradient, which is home when the round is over. So a process holds the columns of two, however many there are, where
    a gather holds everybody's. Value and gradient are made in one round: the gradient of a sum is known up to the
    factor that comes later, which must be the same on every process, as that of a term is.

    Args:
        block: (rows (R, D), columns (C, D) of one process, its rank) -> their sum, (). It reaches only what is
            summed: neither may a row's part depend on the columns of another process.
        rows: own rows, (R, D).
        columns: own columns, (C, D); every process asks for their gradient, or none does.
        counts: C of each process.
        parameters: what `block` reads beside them that has a gradient.

    Returns:
        The sum over own rows and everybody's columns, (); its gradient reaches own rows, the parameters and the
        columns of every process.

    References:
        Zhai et al. 2023 (SigLIP), section 3.3, "chunked" implementation.

    Example:
        >>> pair = torch.ones(1, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> by_ring(lambda rows, columns, rank: (rows @ columns.T).sum(), *pair, counts=[2]).item()
        10.0
    """
    given = [rows, columns, *parameters]
    needed = [torch.is_grad_enabled() and each.requires_grad for each in given]
    return _Ring.apply(block, counts, needed, *given)


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        block: Callable[[Tensor, Tensor, int], Tensor],
        counts: Sequence[int],
        needed: list[bool],
        *given: Tensor,
    ) -> Tensor:
        world, most = len(counts), max(counts)
        wanted = [i for i, need in enumerate(needed) if need]
        rows, held = given[0].detach(), _longer(given[1].detach(), most)
        total = rows.new_zeros(())
        grads: dict[int, Tensor] = {}
        travelling = None  # the gradient of the columns that are held, from the processes that held them before
        for step in range(world):
            source = (collectives.rank() + step) % world
            arriving = collectives.pass_on(held) if step < world - 1 else None
            columns = held[: counts[source]].detach().requires_grad_(needed[1])
            where = [rows.detach().requires_grad_(needed[0]), columns, *given[2:]]
            with torch.set_grad_enabled(bool(wanted)):
                found = block(where[0], columns, source)
            made = torch.autograd.grad(found, [where[i] for i in wanted], materialize_grads=True) if wanted else ()
            for i, grad in zip(wanted, made, strict=True):
                if i == 1 and step:
                    grad = _longer(grad, most)
                    travelling = collectives.pass_on(grad if travelling is None else travelling.add_(grad))()
                else:
                    grads[i] = grads[i].add_(grad) if i in grads else grad
            total += found.detach()
            held = arriving() if arriving else held
        if travelling is not None:
            grads[1] += travelling[: len(given[1])]
        ctx.grads = [grads.get(i) for i in range(len(given))]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *factors: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  # pyrefly: ignore
        return None, None, None, *(None if grad is None else grad * factors[0] for grad in ctx.grads)


def _longer(rows: Tensor, most: int) -> Tensor:
    return F.pad(rows, (0, 0, 0, most - len(rows))).contiguous()

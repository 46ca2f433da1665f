"""Losses over a score matrix that never hold it whole: tile by tile, value and gradient at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from medvlp.core.term import Term
from medvlp.objectives._similarity import Similarity, like, tensors

logger = logging.getLogger(__name__)


def by_tiles(
    similarity: Similarity, term: Callable[..., Term], *, beside: Sequence[Tensor] = (), entries: int | None = None
) -> Term:
    """Sum a term over tiles of rows, each of which is formed, used and forgotten.

    The gradient is made beside the value, tile by tile, so that nothing is computed twice and memory does not grow with
    R C: a term is a sum over rows, and the gradient of a sum is known up to the factor that comes later. Where the
    matrix has few entries it is one tile, and ordinary automatic differentiation.

    Args:
        similarity: the matrix.
        term: (scores (r, C), which of the R rows they are, of each tensor beside its r rows) -> their term; of one tile
            ``slice(None)``. What else it reads is constant.
        beside: tensors of R rows, with a gradient if they ask for one.
        entries: scores formed at a time; None: `Similarity.tile`.

    Returns:
        The term of all rows; its gradient reaches rows, columns, what is beside, and the parameters of score and scale.
    """
    rows, columns = similarity.shape
    step = max(1, (entries or similarity.tile) // max(columns, 1))
    if rows <= step:
        return term(similarity.dense(), slice(None), *beside)
    _tell((rows * columns).bit_length() - 1, entries or similarity.tile)
    modules = [each for each in (similarity.score, similarity.scale) if isinstance(each, nn.Module)]
    parameters = [parameter for module in modules for parameter in module.parameters()]
    given = [*tensors(similarity.rows), *beside, *tensors(similarity.columns), *parameters]
    needed = [torch.is_grad_enabled() and each.requires_grad for each in given]
    return Term(*_Tiled.apply(similarity, term, step, len(beside), needed, *given))


@cache  # once for an order of sizes: rows of words and regions are others at each step
def _tell(order: int, entries: int) -> None:
    whole, tile = (4 * count / 2**20 for count in (2**order, entries))
    logger.info(f"Over {whole:.3g} MiB of scores are formed by tiles of {tile:.3g}, which takes less memory.")


@torch.no_grad()
def of_rows(similarity: Similarity, make: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Return what is made of each row, (R, ...), tile by tile and without gradient.

    Example:
        >>> pair = Similarity(torch.eye(2), torch.eye(2), lambda rows, columns: rows @ columns.T)
        >>> of_rows(pair, lambda scores, part: scores.sum(dim=1)).tolist()
        [1.0, 1.0]
    """
    rows, columns = similarity.shape
    step = max(1, similarity.tile // max(columns, 1))
    if rows <= step:
        return make(similarity.dense(), slice(None))
    sides = zip(*(each.split(step) for each in tensors(similarity.rows)), strict=True)
    made = [
        make(similarity.of(like(similarity.rows, own), similarity.columns), slice(i * step, (i + 1) * step))
        for i, own in enumerate(sides)
    ]
    return torch.cat(made)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        similarity: Similarity,
        term: Callable[..., Term],
        step: int,
        beside: int,
        needed: list[bool],
        *given: Tensor,
    ) -> tuple[Tensor, Tensor]:
        read = len(tensors(similarity.rows))
        count = read + beside  # those that are cut into tiles
        sides = count + len(tensors(similarity.columns))
        grads = [torch.zeros_like(each) if need else None for each, need in zip(given, needed, strict=True)]
        total: Term | None = None
        # Parameters are themselves; of rows and columns the graph begins here.
        leaves = [each.detach().requires_grad_(need) for each, need in zip(given[:sides], needed[:sides], strict=True)]
        columns = like(similarity.columns, leaves[count:])
        for start in range(0, len(given[0]), step):
            part = slice(start, min(start + step, len(given[0])))
            with torch.enable_grad():
                own = [each[part].detach().requires_grad_(each.requires_grad) for each in leaves[:count]]
                found = term(similarity.of(like(similarity.rows, own[:read]), columns), part, *own[read:])
            where = [*own, *leaves[count:], *given[sides:]]
            wanted = [i for i, need in enumerate(needed) if need]
            if wanted and found.sum.requires_grad:
                made = torch.autograd.grad(found.sum, [where[i] for i in wanted], allow_unused=True)
                for i, grad in zip(wanted, made, strict=True):
                    whole = grads[i]
                    if grad is not None and whole is not None:
                        (whole[part] if i < count else whole).add_(grad)
            here = Term(found.sum.detach(), found.count)
            total = here if total is None else total + here
        assert total is not None
        ctx.grads = grads
        ctx.mark_non_differentiable(total.count)
        return total.sum, total.count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *factors: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  # pyrefly: ignore
        return *(None,) * 5, *(None if grad is None else grad * factors[0] for grad in ctx.grads)

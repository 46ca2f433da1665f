"""Score matrices that are not computed yet, and losses over them that never hold one whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from medvlp.core.protocols import Score
from medvlp.core.term import Term
from medvlp.models.scale import LogitScale

Side = Tensor | Mapping[str, Tensor]
TILE = 2**25  # scores that are formed at a time: 128 MiB of float32


@dataclass(frozen=True)
class Similarity:
    """A score matrix of R rows and C columns that is not computed yet.

    Attributes:
        rows: what the score reads of R rows: a tensor, or parts by name for a `Score`.
        columns: the same of C columns.
        score: (rows, columns) -> (R, C), unscaled.
        scale: (R, C) -> (R, C), the logit scale; None leaves the scores as they are.
        two_way: whether `turned`, the other direction of the same sides, is asked for too: both are computed at once.
        mirror: what this one is the other direction of.

    Example:
        >>> pair = Similarity(torch.eye(2), torch.eye(2), lambda rows, columns: rows @ columns.T, lambda s: 10 * s)
        >>> pair.dense().tolist()
        [[10.0, 0.0], [0.0, 10.0]]
    """

    rows: Side
    columns: Side
    score: Callable[..., Tensor]
    scale: Callable[[Tensor], Tensor] | None = None
    two_way: bool = False
    mirror: Similarity | None = None

    def turned(self) -> Similarity:
        """Return the other direction, of columns and rows."""
        return Similarity(self.columns, self.rows, self.score, self.scale, mirror=self)

    def at(self, scale: Callable[[Tensor], Tensor] | None) -> Similarity:
        """Return the same scores at another scale, in both directions."""
        mirror = None if self.mirror is None else self.mirror.at(scale)
        return replace(self, scale=scale, mirror=mirror)

    @property
    def shape(self) -> tuple[int, int]:
        """R and C."""
        rows, columns = (_tensors(side)[0] for side in (self.rows, self.columns))
        return len(rows), len(columns)

    def dense(self) -> Tensor:
        """Return the whole scaled matrix, (R, C)."""
        if self.mirror is not None:
            return self.mirror._both[1]
        return self._both[0] if self.two_way else self.of(self.rows, self.columns)

    @cached_property
    def _both(self) -> tuple[Tensor, Tensor]:
        if not isinstance(self.score, Score) or self.score.cosine:
            scores = self.of(self.rows, self.columns)
            return scores, scores.T
        forth, back = self.score.both_ways(self.rows, self.columns)  # type: ignore[arg-type]
        return (forth, back) if self.scale is None else (self.scale(forth), self.scale(back))

    def of(self, rows: Side, columns: Side) -> Tensor:
        """Return the scaled scores of other rows and columns."""
        if isinstance(self.score, Score) and self.score.cosine and isinstance(self.scale, LogitScale):
            # On R D numbers the scale costs less than on R C.
            longer = {name: self.scale.value * each for name, each in rows.items()}  # type: ignore[union-attr]
            scores = self.score(longer, columns)
            return scores if self.scale.bias is None else scores + self.scale.bias
        scores = self.score(rows, columns)
        return scores if self.scale is None else self.scale(scores)


def by_tiles(similarity: Similarity, term: Callable[[Tensor, slice], Term], *, entries: int = TILE) -> Term:
    """Sum a term over tiles of rows, each of which is formed, used and forgotten.

    The gradient is made beside the value, tile by tile, so that nothing is computed twice and memory does not grow with
    R C: a term is a sum over rows, and the gradient of a sum is known up to the factor that comes later. Where the
    matrix has few entries it is one tile, and ordinary automatic differentiation.

    Args:
        similarity: the matrix.
        term: (scores (r, C), which of the R rows they are) -> their term; of one tile ``slice(None)``.
        entries: scores formed at a time.

    Returns:
        The term of all rows; its gradient reaches rows, columns and the parameters of score and scale.

    Example:
        >>> pair = Similarity(torch.eye(3), torch.eye(3), lambda rows, columns: rows @ columns.T)
        >>> by_tiles(pair, lambda scores, part: Term.of(scores.sum(dim=1)), entries=3).value().item()
        1.0
    """
    rows, columns = similarity.shape
    step = max(1, entries // max(columns, 1))
    if rows <= step:
        return term(similarity.dense(), slice(None))
    modules = [each for each in (similarity.score, similarity.scale) if isinstance(each, nn.Module)]
    given = [*_tensors(similarity.rows), *_tensors(similarity.columns), *(p for m in modules for p in m.parameters())]
    needed = [torch.is_grad_enabled() and each.requires_grad for each in given]
    return Term(*_Tiled.apply(similarity, term, step, needed, *given))


def _tensors(side: Side) -> list[Tensor]:
    return [side] if isinstance(side, Tensor) else list(side.values())


def _like(side: Side, tensors: Sequence[Tensor]) -> Side:
    return tensors[0] if isinstance(side, Tensor) else dict(zip(side, tensors, strict=True))


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        similarity: Similarity,
        term: Callable[[Tensor, slice], Term],
        step: int,
        needed: list[bool],
        *given: Tensor,
    ) -> tuple[Tensor, Tensor]:
        count = len(_tensors(similarity.rows))
        sides = count + len(_tensors(similarity.columns))
        grads = [torch.zeros_like(each) if need else None for each, need in zip(given, needed, strict=True)]
        total: Term | None = None
        # Parameters are themselves; of rows and columns the graph begins here.
        leaves = [each.detach().requires_grad_(need) for each, need in zip(given[:sides], needed[:sides], strict=True)]
        columns = _like(similarity.columns, leaves[count:])
        for start in range(0, len(given[0]), step):
            part = slice(start, min(start + step, len(given[0])))
            with torch.enable_grad():
                own = [each[part].detach().requires_grad_(each.requires_grad) for each in leaves[:count]]
                found = term(similarity.of(_like(similarity.rows, own), columns), part)
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
        return None, None, None, None, *(None if grad is None else grad * factors[0] for grad in ctx.grads)

"""Score matrices that are not computed yet, and losses over them that never hold one whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from medvlp.core.protocols import Score
from medvlp.core.term import Term
from medvlp.models.scale import LogitScale

Side = Tensor | Mapping[str, Tensor]
TILE = 2**25  # scores that are formed at a time: 128 MiB of float32
CACHED = 2**20  # the same on a CPU, whose caches hold them, where no other direction wants the matrix too


@dataclass(frozen=True)
class Similarity:
    """A score matrix of R rows and C columns that is not computed yet.

    Attributes:
        rows: what the score reads of R rows: parts by name, or a tensor, for a `Score` their embeddings.
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

    def beside(self, other: Similarity) -> Similarity:
        """Return the same rows against the columns of both; the shorter side's tokens are padded with zeros.

        Example:
            >>> first, second = (Similarity(torch.eye(2), torch.eye(n, 2), lambda a, b: a @ b.T) for n in (1, 2))
            >>> first.beside(second).dense().tolist()
            [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        """
        columns = [_joined(pair) for pair in zip(_tensors(self.columns), _tensors(other.columns), strict=True)]
        return Similarity(self.rows, _like(self.columns, columns), self.score, self.scale)

    @property
    def shape(self) -> tuple[int, int]:
        """R and C."""
        rows, columns = (_tensors(side)[0] for side in (self.rows, self.columns))
        return len(rows), len(columns)

    @property
    def tile(self) -> int:
        """How many scores to form at a time."""
        cached = not self.two_way and self.mirror is None and _tensors(self.rows)[0].device.type == "cpu"
        return min(CACHED, TILE) if cached else TILE

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
        forth, back = self.score.both_ways(_parts(self.rows), _parts(self.columns))
        return (forth, back) if self.scale is None else (self.scale(forth), self.scale(back))

    def of(self, rows: Side, columns: Side) -> Tensor:
        """Return the scaled scores of other rows and columns."""
        if not isinstance(self.score, Score):
            scores = self.score(rows, columns)
        elif self.score.cosine and isinstance(self.scale, LogitScale):
            # On R D numbers the scale costs less than on R C.
            longer = {name: self.scale.value * each for name, each in _parts(rows).items()}
            scores = self.score(longer, _parts(columns))
            return scores if self.scale.bias is None else scores + self.scale.bias
        else:
            scores = self.score(_parts(rows), _parts(columns))
        return scores if self.scale is None else self.scale(scores)


def by_tiles(
    similarity: Similarity,
    term: Callable[..., Term],
    *,
    beside: Sequence[Tensor] = (),
    entries: int | None = None,
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

    Example:
        >>> pair = Similarity(torch.eye(3), torch.eye(3), lambda rows, columns: rows @ columns.T)
        >>> by_tiles(pair, lambda scores, part: Term.of(scores.sum(dim=1)), entries=3).value().item()
        1.0
    """
    rows, columns = similarity.shape
    step = max(1, (entries or similarity.tile) // max(columns, 1))
    if rows <= step:
        return term(similarity.dense(), slice(None), *beside)
    modules = [each for each in (similarity.score, similarity.scale) if isinstance(each, nn.Module)]
    parameters = [parameter for module in modules for parameter in module.parameters()]
    given = [*_tensors(similarity.rows), *beside, *_tensors(similarity.columns), *parameters]
    needed = [torch.is_grad_enabled() and each.requires_grad for each in given]
    return Term(*_Tiled.apply(similarity, term, step, len(beside), needed, *given))


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
    sides = zip(*(each.split(step) for each in _tensors(similarity.rows)), strict=True)
    made = [
        make(similarity.of(_like(similarity.rows, own), similarity.columns), slice(i * step, (i + 1) * step))
        for i, own in enumerate(sides)
    ]
    return torch.cat(made)


def _parts(side: Side) -> Mapping[str, Tensor]:
    return {"embedding": side} if isinstance(side, Tensor) else side


def _tensors(side: Side) -> list[Tensor]:
    return [side] if isinstance(side, Tensor) else list(side.values())


def _like(side: Side, tensors: Sequence[Tensor]) -> Side:
    return tensors[0] if isinstance(side, Tensor) else dict(zip(side, tensors, strict=True))


def _joined(pair: Sequence[Tensor]) -> Tensor:
    most = max(each.shape[1] for each in pair)
    return torch.cat([F.pad(each, (0, 0) * (each.dim() - 2) + (0, most - each.shape[1])) for each in pair])


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
        read = len(_tensors(similarity.rows))
        count = read + beside  # those that are cut into tiles
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
                found = term(similarity.of(_like(similarity.rows, own[:read]), columns), part, *own[read:])
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

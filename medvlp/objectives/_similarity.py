"""Score matrices that are not computed yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.protocols import Score
from medvlp.models.scale import LogitScale

Side = Tensor | Mapping[str, Tensor]
TILE = 2**25  # scores that are formed at a time: 128 MiB of float32
# The same on a CPU, whose caches hold them, where no other direction wants the matrix too: few enough for at least four
# tiles, since memory is that of one, and no fewer than make up for starting it.
CACHED = (2**18, 2**20)


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
        columns = [_joined(pair) for pair in zip(tensors(self.columns), tensors(other.columns), strict=True)]
        return Similarity(self.rows, like(self.columns, columns), self.score, self.scale)

    @property
    def shape(self) -> tuple[int, int]:
        """R and C."""
        rows, columns = (tensors(side)[0] for side in (self.rows, self.columns))
        return len(rows), len(columns)

    @property
    def tile(self) -> int:
        """How many scores to form at a time."""
        cached = not self.two_way and self.mirror is None and tensors(self.rows)[0].device.type == "cpu"
        return min(in_cache(prod(self.shape)), TILE) if cached else TILE

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


def in_cache(scores: int) -> int:
    """Return how many of the scores of a matrix to form at a time on a CPU.

    Example:
        >>> [in_cache(rows**2) for rows in (256, 1024, 1448, 4096)]
        [262144, 262144, 524176, 1048576]
    """
    return min(max(scores // 4, CACHED[0]), CACHED[1])


def _parts(side: Side) -> Mapping[str, Tensor]:
    return {"embedding": side} if isinstance(side, Tensor) else side


def tensors(side: Side) -> list[Tensor]:
    """Return the tensors of a side, in its order."""
    return [side] if isinstance(side, Tensor) else list(side.values())


def like(side: Side, tensors: Sequence[Tensor]) -> Side:
    """Return tensors as a side of the same parts."""
    return tensors[0] if isinstance(side, Tensor) else dict(zip(side, tensors, strict=True))


def _joined(pair: Sequence[Tensor]) -> Tensor:
    most = max(each.shape[1] for each in pair)
    return torch.cat([F.pad(each, (0, 0) * (each.dim() - 2) + (0, most - each.shape[1])) for each in pair])

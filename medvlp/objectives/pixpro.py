"""PixPro (Xie et al. 2021): tokens of two crops that lie at one place of the picture agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._rows import partners


class PixPro(Objective):
    r"""Minus the cosine of a crop's propagated tokens to a teacher's tokens of another crop, where they lie together.

    With y the tokens of one crop after projection and propagation (head `pixel_propagation`), x' those of another crop
    after the projection of the teacher, and A the pairs of tokens whose middles are nearer than `distance` times the
    larger of the two crops' token diagonals, in pixels of the file,

        L = mean over ordered pairs of crops that overlap of -mean over (i, j) in A of cos(y_i, x'_j).

    Where tokens lie is read off the records of the views, whatever cut, turned or mirrored them. The paper's loss is
    twice and the authors' code's four times as large. Crops that do not overlap add nothing. No text takes part.

    Args:
        pairs: of views; one with itself is all its crops of a sample.
        teacher: state `ema`; the paper ramps its decay from 0.99 a step to 1.
        distance: in token diagonals; below 0.7 crops of equal scale match cell by cell.
        gamma: see `PixelPropagation`.
        hidden: width of the projection's hidden layer, with BatchNorm over all tokens of all rows.
        width: of projected tokens.
        head: name of the projection; the propagation is ``HEAD_propagated``.

    Returns:
        ``A_to_B`` for each direction, weighted so that their values add up to L.

    Raises:
        ConfigError: without a pair; or if a tower's tokens form no grid, or nobody knows where a view lies.

    References:
        Xie et al. 2021, eq. 1 to 5.

    Note:
        It asks that a place looks the same in every crop. Views must keep their records, crops do not mirror, and since
        the opposite lung is similar too, propagation may blur left and right: keep a term that reads reports.

    Example:
        >>> sorted(map(str, PixPro().needs()))
        ['ema:image.large/pixpro', 'image.large/pixpro_propagated', 'state:ema']
    """

    def __init__(
        self,
        *,
        pairs: Sequence[tuple[str, str]] = (("image.large", "image.large"),),
        teacher: str = "ema",
        distance: Annotated[float, Field(gt=0)] = 0.7,
        gamma: Annotated[float, Field(gt=0)] = 2.0,
        hidden: Annotated[int, Field(ge=1)] = 4096,
        width: Annotated[int, Field(ge=1)] = 256,
        head: str = "pixpro",
    ) -> None:
        super().__init__()
        if not pairs:
            raise ConfigError("Objective 'pixpro' has no pairs: name two views, or one twice.")
        self.directions = tuple(dict.fromkeys((x, y) for a, b in pairs for x, y in ((a, b), (b, a))))
        self.teacher = teacher
        self.distance = distance
        self.head = head
        projection = {"reads": "tokens", "hidden": hidden, "width": width, "norm": "batch", "stage": "batch"}
        self._heads = {
            head: HeadSpec("projection", projection),
            f"{head}_propagated": HeadSpec("pixel_propagation", {"reads": head, "gamma": gamma}),
        }

    def needs(self) -> frozenset[Key]:
        """Propagated tokens by the student, projected ones by the teacher."""
        return keys(f"state:{self.teacher}", *(key for a, b in self.directions for key in self._keys(a, b)))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection and the propagation."""
        return self._heads

    def forward(self, ctx: Context) -> Terms:
        """Return a term for each direction."""
        terms = {}
        for a, b in self.directions:
            student, taught = self._keys(a, b)
            row, column = partners(ctx, student, taught)
            cosine = unit(ctx[student])[row] @ unit(ctx[taught].detach())[column].transpose(1, 2)
            # Without a pair nobody need know where views lie.
            near = self._near(ctx, student, taught, row, column) if len(row) else torch.zeros_like(cosine).bool()
            mean = torch.where(near, cosine, 0.0).sum(dim=(1, 2)) / near.sum(dim=(1, 2)).clamp(min=1)
            overlap = near.any(dim=2).any(dim=1)
            terms[f"{a}_to_{b}"] = Term.of(-mean, overlap).times(1 / len(self.directions))
        return terms

    def _near(self, ctx: Context, a: str, b: str, row: Tensor, column: Tensor) -> Tensor:
        """Which tokens of each pair of rows lie together, bool (P, N, M)."""
        (first, one), (second, other) = _places(ctx, a), _places(ctx, b)
        reach = self.distance * torch.maximum(one[row], other[column])
        return torch.cdist(first[row], second[column]) < reach[:, None, None]

    def _keys(self, a: str, b: str) -> tuple[str, str]:
        return f"{a}/{self.head}_propagated", f"{self.teacher}:{b}/{self.head}"


def _places(ctx: Context, key: str) -> tuple[Tensor, Tensor]:
    """Return the middles of own tokens in pixels of the source, (R, N, 2), and each row's token diagonal, (R,)."""
    (rows, columns), size = ctx.grid(key), ctx[parse_key(key).view].shape[-2:]
    record = ctx.record(key)
    down, right = size[0] / rows, size[1] / columns
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    points = torch.stack([x * right, y * down, torch.ones_like(x)], dim=-1).flatten(0, 1).to(record)
    diagonal = ((record[:, :, 0] * right).square() + (record[:, :, 1] * down).square()).sum(dim=1).sqrt()
    return points @ record.transpose(1, 2), diagonal

"""BarLIP (Fini et al. 2023): each feature of an image agrees with the same feature of its report and with no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms


class BarLip(Objective):
    r"""Distance of the cross correlation of two views' projections from the identity.

    With z the projections of two views (head of this objective's own, D wide), each feature brought to mean 0 and
    spread 1 over the N pairs of all processes, C = z_a^T z_b / N and

        L = mean over the pairs of views of scale [ sum_i (1 - C_ii)^2 + off sum_i sum_{j != i} C_ij^2 ].

    It is 0 where features of both views are equal and unrelated to each other, scale D where the views know nothing of
    each other. Of several rows of a view all pairs of one sample count. It is added to CLIP's loss.

    Args:
        pairs: of views, such as ``[[image, text], [image.strong, text.strong]]``.
        off: weight of what is off the diagonal.
        scale: of the whole.
        hidden: width of the projection's two hidden layers, with BatchNorm over all rows.
        width: D; both are 8192 in the paper.
        head: name of the projection.

    Returns:
        ``A_and_B`` for each pair, weighted so that their values add up to L; 0 of a step with fewer than two pairs.

    Raises:
        ConfigError: without a pair, or for a view with itself.

    References:
        Fini et al. 2023, section 3; Zbontar et al. 2021 (Barlow Twins), eq. 1 and 2. The authors' code lets a gain and
        a shift be learned before C; here there is none, so C is a correlation.

    Note:
        Statistics are over one step: with few samples of a finding in it, its feature is noise, so a batch of hundreds
        is wanted. A sample alone is never told apart, only features are.

    Example:
        >>> corner = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])  # two features, unrelated
        >>> terms = BarLip()(Context.of({"image/barlip": corner, "text/barlip": corner}, {"text": list("abcd")}))
        >>> round(terms["image_and_text"].value().item(), 6)
        0.0
    """

    def __init__(
        self,
        *,
        pairs: Sequence[tuple[str, str]] = (("image", "text"),),
        off: Annotated[float, Field(ge=0)] = 5e-3,
        scale: Annotated[float, Field(gt=0)] = 0.025,
        hidden: Annotated[int, Field(ge=1)] = 8192,
        width: Annotated[int, Field(ge=2)] = 8192,
        head: str = "barlip",
    ) -> None:
        super().__init__()
        self.pairs = tuple(tuple(pair) for pair in pairs)
        if not pairs or any(a == b for a, b in self.pairs):
            raise ConfigError("Objective 'barlip' takes pairs of different views: write [[image, text]].")
        self.off = off
        self.scale = scale
        self.head = head
        options = {"width": width, "hidden": hidden, "layers": 3, "norm": "batch", "stage": "batch"}
        self._head = HeadSpec("projection", options)

    def needs(self) -> frozenset[Key]:
        """Projections of all views."""
        return keys(*(f"{view}/{self.head}" for pair in self.pairs for view in pair))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection, of each kind its own."""
        return {self.head: self._head}

    def forward(self, ctx: Context) -> Terms:
        """Return a term for each pair of views."""
        return {f"{a}_and_{b}": self._pair(ctx, a, b).times(1 / len(self.pairs)) for a, b in self.pairs}

    def _pair(self, ctx: Context, a: str, b: str) -> Term:
        first, second = f"{a}/{self.head}", f"{b}/{self.head}"
        one, other, owner = ctx.all(first), ctx.all(second), ctx.all_owner(first)
        row, column = (owner[:, None] == ctx.all_owner(second)[None, :]).nonzero(as_tuple=True)
        # Every process computes the whole, and answers for as large a part of it as its own rows are.
        own = torch.isin(owner[row], ctx.owner(first)).sum().to(one) if len(row) > 1 else one.new_zeros(())
        correlation = _standard(one[row]).T @ _standard(other[column]) / max(len(row), 1)
        diagonal = correlation.diagonal()
        away = correlation.square().sum() - diagonal.square().sum()
        return Term(self.scale * ((1 - diagonal).square().sum() + self.off * away) * own, own)


def _standard(rows: Tensor) -> Tensor:
    """Return (N, D) with mean 0 and spread 1 of each feature; a feature without spread is 0."""
    if not len(rows):
        return rows
    return (rows - rows.mean(dim=0)) * (rows.var(dim=0, correction=0) + 1e-5).rsqrt()

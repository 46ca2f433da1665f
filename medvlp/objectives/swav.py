"""SwAV (Caron et al. 2020): crops of a picture predict to which learned prototypes its large crops were assigned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.core.term import Term, Terms
from medvlp.models.heads.prototypes import Prototypes
from medvlp.objectives._masked_softmax import log_partition
from medvlp.objectives._rows import sums_by_sample
from medvlp.objectives.sinkhorn_prototypes import SinkhornPrototypes


class Swav(SinkhornPrototypes):
    r"""Swapped prediction among all crops of a sample, every pair of crops counting alike.

    Each large crop a is assigned to the prototypes in equal shares over the batch, Q_a = sinkhorn(z_a C^T / epsilon);
    every *other* crop v of its sample, large or small, predicts it:

        L = mean over pairs (a, v), v != a, of CE(softmax(z_v C^T / t), Q_a),

    z the projected row at unit length, C the prototypes (K, D) at unit length. With two large and six small crops that
    is the paper's mean over the two assigners of the mean over the seven others. It needs no text; name `text` among
    the assigners, and the report's assignment is predicted from the crops and theirs from the report.

    It differs from `sinkhorn_prototypes`, which compares views and counts each alike: here several crops may be rows of
    one view, predict one another and count one by one. The crops of one view share one assignment; give each large
    crop a view of its own, as the paper does, for one each. Weights of prototypes and the queue start as there.

    Args:
        epsilon, iterations, freeze, hidden, norm, head: as in `sinkhorn_prototypes`.
        assigners: views whose rows are assigned: large crops, as the view ``crops`` of the data cuts them.
        predictors: views that only predict: small crops.
        prototypes: K; 3000 as published, on ImageNet.
        temperature: t.
        queue: state `queue` of the assigners' rows, which takes part in the shares once it is full: for batches of
            fewer rows than there are prototypes.
        width: D.

    Returns:
        ``swapped``.

    Raises:
        ConfigError: without two views, or if one is named twice.

    References:
        Caron et al. 2020, equations 1 to 3 (swapped prediction and equal shares), section 3.2 (crops).

    Note:
        Equal shares suppose that the groups of a batch are about equally frequent; findings are not, and rare ones
        share a prototype. A small crop may miss the finding that its large crop shows: keep its share of the area well
        above that of the lesions in question, and never mirror crops.

    Example:
        >>> sorted(map(str, Swav(assigners=["image"], predictors=["image.local"]).needs()))
        ['image.local/swav_rows', 'image/swav_rows']
    """

    def __init__(
        self,
        *,
        assigners: Sequence[str] = ("image.large",),
        predictors: Sequence[str] = ("image.local",),
        prototypes: Annotated[int, Field(ge=2)] = 500,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        epsilon: Annotated[float, Field(gt=0)] = 0.05,
        iterations: Annotated[int, Field(ge=1)] = 3,
        freeze: Annotated[int, Field(ge=0)] = 0,
        queue: str | None = None,
        hidden: Annotated[int, Field(ge=1)] | None = 2048,
        width: Annotated[int, Field(ge=1)] = 128,
        norm: Literal["layer", "batch"] = "batch",
        head: str = "swav",
    ) -> None:
        super().__init__(
            assigners=assigners,
            predictors=predictors,
            prototypes=prototypes,
            temperature=temperature,
            epsilon=epsilon,
            iterations=iterations,
            freeze=freeze,
            queue=queue,
            hidden=hidden,
            width=width,
            norm=norm,
            head=head,
        )

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        prototypes = cast("Prototypes", ctx.heads[self.head])
        learn = ctx.samples_seen >= self.freeze
        weight = prototypes.weight if learn else prototypes.weight.detach()
        rows, owner = (torch.cat(each) for each in zip(*(self._of(ctx, view) for view in self.views), strict=True))
        # Cross entropy is linear in its target: of a code only the prototype that it expects is compared with rows.
        expected = torch.cat([self._assigned(ctx, view, prototypes) @ weight.to(rows) for view in self.assigners])
        own = owner[: len(expected)]  # the assigners' rows come first
        of_sample, count = sums_by_sample(expected, own, ctx.batch.size)
        target, count = of_sample[owner], count[owner]
        target[: len(own)] -= expected
        count[: len(own)] -= 1
        rows = rows / self.temperature
        return {"swapped": Term(log_partition(rows, weight.to(rows), count) - (target * rows).sum(), count.sum())}

    def _of(self, ctx: Context, view: str) -> tuple[Tensor, Tensor]:
        """Return unit rows of a view and the sample of each within this process."""
        key = self._key(view)
        return unit(ctx[key]), ctx.parts[parse_key(key)].owner

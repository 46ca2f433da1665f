"""Swapped assignment to learned prototypes: SwAV (Caron et al. 2020), and across modalities MGCA (Wang et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.models.heads.prototypes import Prototypes
from medvlp.objectives._contrast import contrast
from medvlp.objectives._rows import sums_by_sample
from medvlp.objectives._sinkhorn import sinkhorn
from medvlp.state.queue import Queue


class SinkhornPrototypes(Objective):
    r"""One view of a sample predicts to which prototypes another view of it was assigned.

    For each assigner a, Q_a = sinkhorn(z_a C^T / epsilon) over the rows of all processes (and of the queue, once it is
    full); for each other view v of the same samples

        L = mean over a, v != a of mean over rows of v of CE(z_v C^T / t, Q_a),

    z at unit length, C the learned unit prototypes that all views share; assignments carry no gradient. With two
    assigners that is MGCA's cross-modal prototype alignment, or SwAV with two crops. Of several rows of an assigner the
    sample's assignment is the mean; a row whose sample the assigner lacks adds nothing.

    Args:
        assigners: views whose rows are assigned, and predict each other.
        predictors: views that only predict.
        prototypes: K.
        temperature: t; 0.2 in MGCA, 0.1 in SwAV.
        epsilon: see `sinkhorn`; 0.05 in both.
        iterations: see `sinkhorn`; 3 in both.
        freeze: samples seen by the run before which prototypes stand still (an epoch in MGCA).
        queue: state `queue` that keeps the rows of the assigners; None for none.
        hidden: width of the hidden layer of a projection of this objective's own, as in SwAV; None: prototypes live in
            the model's common space, as in MGCA.
        width: of that projection's rows.
        norm: of its hidden layer; ``batch`` is over the rows of all processes.
        head: name of the prototypes, and with ``_rows`` of the projection.

    Returns:
        ``ASSIGNER_to_VIEW`` for each pair, weighted so that their values add up to L.

    Raises:
        ConfigError: without two views, or if one is named twice.

    Example:
        >>> sorted(map(str, SinkhornPrototypes().needs()))
        ['image/raw', 'text/raw']
    """

    def __init__(
        self,
        *,
        assigners: Sequence[str] = ("image", "text"),
        predictors: Sequence[str] = (),
        prototypes: Annotated[int, Field(ge=2)] = 500,
        temperature: Annotated[float, Field(gt=0)] = 0.2,
        epsilon: Annotated[float, Field(gt=0)] = 0.05,
        iterations: Annotated[int, Field(ge=1)] = 3,
        freeze: Annotated[int, Field(ge=0)] = 0,
        queue: str | None = None,
        hidden: Annotated[int, Field(ge=1)] | None = None,
        width: Annotated[int, Field(ge=1)] = 128,
        norm: Literal["layer", "batch"] = "batch",
        head: str = "prototypes",
    ) -> None:
        super().__init__()
        self.assigners = tuple(assigners)
        self.views = (*assigners, *predictors)
        if not assigners or len(self.views) < 2 or len(set(self.views)) < len(self.views):
            raise ConfigError(
                f"Objective 'sinkhorn_prototypes' has the views {', '.join(self.views) or 'none'}: name an assigner "
                "and another view, each once."
            )
        self.prototypes = prototypes
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.freeze = freeze
        self.queue, self.head = queue, head
        self.part = "raw" if hidden is None else f"{head}_rows"
        own = {"prototypes": prototypes, "width": None if hidden is None else width}
        self._heads = {head: HeadSpec("prototypes", own)}
        if hidden is not None:
            projection = {"reads": "pooled", "hidden": hidden, "width": width, "norm": norm, "stage": "batch"}
            self._heads[self.part] = HeadSpec("projection", projection)

    def needs(self) -> frozenset[Key]:
        """Rows of all views, and the queue."""
        read = keys(*(f"{view}/{self.part}" for view in self.views))
        return read | keys(f"state:{self.queue}") if self.queue else read

    def heads(self) -> Mapping[str, HeadSpec]:
        """The prototypes, and the projection where it has its own."""
        return self._heads

    def forward(self, ctx: Context) -> Terms:
        """Return a term for each assigner and other view."""
        prototypes = cast("Prototypes", ctx.heads[self.head])
        learn = ctx.samples_seen >= self.freeze
        scores = {view: prototypes.scores(unit(ctx[self._key(view)]), learn=learn) for view in self.views}
        terms: dict[str, Term] = {}
        share = 1 / (len(self.assigners) * (len(self.views) - 1))
        for assigner in self.assigners:
            assigned = self._assigned(ctx, assigner, prototypes)
            for view in (view for view in self.views if view != assigner):
                target = self._of_same_sample(ctx, view, assigner, assigned)
                terms[f"{assigner}_to_{view}"] = contrast(scores[view] / self.temperature, target).times(share)
        return terms

    @torch.no_grad()
    def _assigned(self, ctx: Context, view: str, prototypes: Prototypes) -> Tensor:
        """Return the assignments of own rows of a view, (R, K)."""
        key = self._key(view)
        rows = unit(ctx.all(key))
        before = self._queued(ctx, key).to(rows)
        everybody = torch.cat([before, rows]) if len(before) else rows
        assigned = sinkhorn(prototypes.scores(everybody, learn=False), epsilon=self.epsilon, iterations=self.iterations)
        return assigned[len(before) :][ctx.index.own(key)]

    def _queued(self, ctx: Context, key: str) -> Tensor:
        if self.queue is None:
            return torch.zeros(0, 0)
        queue = ctx.state[self.queue]
        if not isinstance(queue, Queue):
            raise ConfigError(f"states.{self.queue} is no queue, which objective 'sinkhorn_prototypes' needs.")
        rows = queue.rows(key)
        return rows if queue.full(key) else rows[:0]

    def _of_same_sample(self, ctx: Context, view: str, assigner: str, assigned: Tensor) -> Tensor:
        owner, of_code = (ctx.parts[parse_key(self._key(each))].owner for each in (view, assigner))
        total, count = sums_by_sample(assigned, of_code, ctx.batch.size)
        return (total / count.clamp(min=1)[:, None])[owner]

    def _key(self, view: str) -> str:
        return f"{view}/{self.part}"

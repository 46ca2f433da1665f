"""MLCD (An et al. 2024): each image has several clusters as classes, and learned class vectors tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.models.heads.prototypes import Prototypes
from medvlp.state.clusters import Clusters


class Mlcd(Objective):
    r"""Multi-label cluster discrimination: own clusters are drawn near, a sample of the others is pushed away.

    With z a row at unit length, w_k the learned unit vector of cluster k, s_k = s z . w_k, P the row's nearest clusters
    and N a draw of the others that the whole step shares,

        L = mean over rows of [ log(1 + sum over P of exp(-s_k)) + log(1 + sum over N of exp(s_k)) ],

    which is log(1 + sum_N e^s + sum_P e^-s + sum_N e^s sum_P e^-s). Each other cluster is in N with the chance
    `sampled`, drawn anew each step: clusters that say nearly the same are then seldom pushed apart. A row without
    clusters adds nothing. An image may belong to several clusters, as a study shows several findings. Make the clusters
    once, before the first step: the vectors are theirs, and would not know new ones.

    Left out: the angular margin of UNICOM, on which the authors build. The vectors w are scaled to unit length after
    each step instead of within the loss.

    Args:
        classes: number of class vectors, at least K, the number of clusters that the state makes.
        reads: key of the rows (R, D).
        field: batch field of the clusters, as a state `clusters` gives it: ``vector.cluster_image`` with `nearest` of
            2 or more, ``number.cluster_image`` with one; ``vector.cluster_text`` lets the reports say to what an image
            belongs.
        state: that state.
        sampled: share of the other clusters that take part in a step, 0.1 as published.
        scale: s.
        head: name of the class vectors.

    Returns:
        ``clusters``.

    Raises:
        ConfigError: if the state has more clusters than `classes`.

    References:
        An et al. 2024, equations 4 to 6 (multi-label cluster discrimination); An et al. 2023 (UNICOM).

    Note:
        Clusters of radiographs are often clusters of devices, views and sites before they are of findings: look at
        what a cluster holds, or take the clusters of the reports.

    Example:
        >>> sorted(map(str, Mlcd(classes=100).needs()))
        ['image/embedding', 'state:clusters', 'vector.cluster_image']
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Field(ge=2)],
        reads: str = "image/embedding",
        field: str = "vector.cluster_image",
        state: str = "clusters",
        sampled: Annotated[float, Field(gt=0, le=1)] = 0.1,
        scale: Annotated[float, Field(gt=0)] = 32.0,
        head: str = "mlcd",
    ) -> None:
        super().__init__()
        self.classes = classes
        self.reads = reads
        self.field = field
        self.state = state
        self.sampled = sampled
        self.scale = scale
        self.head = head

    def needs(self) -> frozenset[Key]:
        """The rows, their clusters and the state that makes them."""
        return keys(self.reads, self.field, f"state:{self.state}")

    def heads(self) -> Mapping[str, HeadSpec]:
        """The vectors of the classes."""
        return {self.head: HeadSpec("prototypes", {"prototypes": self.classes})}

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        rows, count = unit(ctx[self.reads]), self._count(ctx)
        own = ctx.rows(self.field, self.reads).one()
        own = own if own.dim() == 2 else own[:, None]
        known = own.isfinite().all(dim=1)
        index = torch.where(known[:, None], own, 0.0).long()
        scores = self.scale * cast("Prototypes", ctx.heads[self.head]).scores(rows, learn=True)[:, :count]
        positive = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, index, True)
        drawn = ctx.uniform_shared(self.classes, name=f"{self.head} classes") < self.sampled
        drawn = drawn[:count].to(positive.device)
        loss = _softplus(-scores, positive) + _softplus(scores, drawn & ~positive)
        return {"clusters": Term.of(loss, known.to(loss))}

    def _count(self, ctx: Context) -> int:
        """Return K."""
        clusters = ctx.state[self.state]
        if not isinstance(clusters, Clusters):
            raise ConfigError(f"states.{self.state} is no 'clusters', which objective 'mlcd' needs.")
        space = self.field.partition(f".{clusters.field}_")[2]
        count = len(clusters.centroids(labels_of=space, features_of=space))
        if count > self.classes:
            raise ConfigError(
                f"classes of objective 'mlcd' is {self.classes}, and states.{self.state} made {count} clusters: give "
                "at least as many classes."
            )
        return count


def _softplus(scores: Tensor, member: Tensor) -> Tensor:
    """log(1 + the sum over members of e^scores), (R,)."""
    members = torch.where(member, scores, -torch.inf)
    return torch.cat([torch.zeros_like(scores[:, :1]), members], dim=1).logsumexp(dim=1)

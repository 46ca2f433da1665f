"""InterCLR (Xie et al. 2022): beside its own other view, a picture's positive is another picture of its cluster."""

from __future__ import annotations

from collections.abc import Mapping
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
from medvlp.objectives._contrast import contrast
from medvlp.objectives._draws import drawn
from medvlp.objectives._rows import first_partners
from medvlp.state.clusters import Clusters
from medvlp.state.queue import Queue


class InterClr(Objective):
    r"""MoCo's contrast, and a contrast with a member of the same cluster against semi-hard negatives.

    With q a projected row at unit length, k+ the teacher's row of the other view of its sample and M a queue of such
    rows,

        intra = log(1 + sum_{n in M} e^{(q n - q k+) / T}),
        inter = log(1 + e^{m / T} sum_{n in S} e^{(q n - q p) / T}),    L = (1 - w) intra + w inter:

    p is one member of M in the row's cluster, drawn anew at each step; S are `negatives` draws from those of the
    `nearest` members that lie in other clusters. Clusters are told of q and M at each step by the nearest centroid of
    the last pass. A negative margin m makes the pseudo-positive easier: it need not come as near as the negatives are.
    At w = 0 this is MoCo (He et al. 2020).

    Args:
        state: state `clusters`.
        queue: state `queue` that keeps ``TEACHER:OTHER/HEAD``.
        teacher: state that encodes the other view, as `ema`.
        view: of the pictures.
        other: the other view of the same picture.
        space: of the clusters: a view whose rows of this head the state reads; None: `view`.
        labels_of: space whose partition is used, as ``text``, at the centroids of the pictures; None: `space`.
        inter: w, the share of the second term.
        margin: m.
        temperature: T.
        nearest: members of the queue among which negatives are drawn.
        negatives: draws a row.
        head: name of the projection.
        hidden: width of its hidden layer.
        width: of its rows.

    Returns:
        ``intra``, without rows that lack an other view, and ``inter``, without those that have no positive or negative.

    References:
        Xie et al. 2022 (InterCLR), sections 3.2 and 3.3; He et al. 2020 (MoCo), eq. 1.

    Note:
        Two studies in one cluster need not show the same: a cluster may be a scanner, a projection or a side. Those of
        the reports (`labels_of`) are nearer to findings. The queue knows no patients: another study of one may be a
        negative, and so is the picture itself in a queue longer than a pass over the pictures. Small clusters are not
        dissolved as by the authors; k-means fills an empty one.

    Example:
        >>> sorted(map(str, InterClr().needs()))
        ['ema:image.second/interclr', 'image/interclr', 'state:clusters', 'state:queue']
    """

    def __init__(
        self,
        *,
        state: str = "clusters",
        queue: str = "queue",
        teacher: str = "ema",
        view: str = "image",
        other: str = "image.second",
        space: str | None = None,
        labels_of: str | None = None,
        inter: Annotated[float, Field(ge=0, le=1)] = 0.25,
        margin: float = -0.5,
        temperature: Annotated[float, Field(gt=0)] = 0.2,
        nearest: Annotated[int, Field(ge=1)] = 512,
        negatives: Annotated[int, Field(ge=1)] = 128,
        head: str = "interclr",
        hidden: Annotated[int, Field(ge=1)] | None = 512,
        width: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        super().__init__()
        self.state, self.queue, self.head = state, queue, head
        self.own, self.other = f"{view}/{head}", f"{teacher}:{other}/{head}"
        self.space = space or view
        self.labels_of = labels_of or self.space
        self.inter, self.margin, self.temperature = inter, margin, temperature
        self.nearest, self.negatives = nearest, negatives
        self.options: dict[str, object] = {"reads": "pooled", "hidden": hidden, "width": width}

    def needs(self) -> frozenset[Key]:
        """Projected rows of both views, and both states."""
        return keys(self.own, self.other, f"state:{self.state}", f"state:{self.queue}")

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection."""
        return {self.head: HeadSpec("projection", self.options)}

    def forward(self, ctx: Context) -> Terms:
        """Return both terms."""
        clusters, queue = ctx.state[self.state], ctx.state[self.queue]
        if not isinstance(clusters, Clusters) or not isinstance(queue, Queue):
            raise ConfigError(
                f"Objective 'interclr' needs a state 'clusters' and a state 'queue': states.{self.state} or "
                f"states.{self.queue} is another."
            )
        rows, members = unit(ctx[self.own]), queue.rows(self.other).to(ctx[self.own])
        members = members if len(members) else members.new_zeros(0, rows.shape[1])
        terms = {"intra": self._intra(ctx, rows, members).times(1 - self.inter)}
        if self.inter:
            centroids = clusters.centroids(labels_of=self.labels_of, features_of=self.space).to(rows)
            draws = ctx.uniform(1 + self.negatives, name="interclr")[ctx.parts[parse_key(self.own)].owner]
            terms["inter"] = self._inter(rows, members, centroids, draws).times(self.inter)
        return terms

    def _intra(self, ctx: Context, rows: Tensor, members: Tensor) -> Term:
        own, other = first_partners(ctx.owner(self.own), ctx.owner(self.other))
        rows = rows[own]
        positive = (rows * unit(ctx[self.other])[other]).sum(dim=1, keepdim=True)
        scores = torch.cat([positive, rows @ members.T], dim=1) / self.temperature
        return contrast(scores, torch.zeros_like(own))

    def _inter(self, rows: Tensor, members: Tensor, centroids: Tensor, draws: Tensor) -> Term:
        cosines, same = rows @ members.T, cluster_of(rows, centroids)[:, None] == cluster_of(members, centroids)[None]
        near = torch.zeros_like(same)
        near.scatter_(1, cosines.detach().topk(min(self.nearest, len(members)), dim=1).indices, True)
        positive, found = drawn(same, draws[:, :1])
        negative, others = drawn(near & ~same, draws[:, 1:])
        if not len(members):
            return contrast(cosines, torch.full_like(found, -1, dtype=torch.int64))
        scores = torch.cat([cosines.gather(1, positive) - self.margin, cosines.gather(1, negative)], dim=1)
        return contrast(scores / self.temperature, torch.where(found & others, 0, -1))


def cluster_of(rows: Tensor, centroids: Tensor) -> Tensor:
    """Return the nearest centroid by direction of each unit row, (R,); an empty cluster's, all zeros, is none's."""
    return (rows.detach() @ unit(centroids).T).masked_fill(~centroids.any(dim=1), -torch.inf).argmax(dim=1)

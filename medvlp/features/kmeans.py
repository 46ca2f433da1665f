"""K-means over the rows of all processes, Euclidean or spherical, chunk by chunk.

Each process holds its own rows; sums, counts and single rows travel. Every draw is a function of the seed and of the
global order of the rows, so that one process and several find the same clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Literal

import torch
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.encoded import unit
from medvlp.core.errors import DataError
from medvlp.core.randomness import numpy_generator
from medvlp.features.nearest import finite_rows, nearest

Start = Literal["k-means++", "rows"]


@dataclass(frozen=True)
class KMeans:
    """A partition of N rows.

    Attributes:
        centroids: (K, D) float32, the mean of each cluster's rows (at unit length where spherical); zero where empty.
        labels: (R,) int64, cluster of each own row.
        counts: (K,) int64, rows of each cluster over all processes.
        objective: sum over all rows of the squared distance to their centroid, or of 1 - cosine where spherical.
    """

    centroids: Tensor
    labels: Tensor
    counts: Tensor
    objective: float


@torch.no_grad()
def kmeans(
    rows: Tensor,
    clusters: int,
    *,
    spherical: bool = False,
    iterations: int = 20,
    restarts: int = 3,
    start: Start | Tensor = "k-means++",
    seed: int = 0,
    budget: int = 2**24,
) -> KMeans:
    """Lloyd's algorithm with restarts; the one with the smallest objective is returned.

    A cluster that loses its last row gets the row farthest from its centroid, of clusters that keep another one; with
    fewer distinct rows than clusters some stay empty. Each centroid is the mean of the rows that carry its label.

    Args:
        rows: (R, D), this process's, on any device.
        clusters: K.
        spherical: rows are scaled to unit length and compared by cosine.
        iterations: most of one start; it ends earlier where no label changes.
        restarts: starts; one is enough where centroids are given.
        start: ``k-means++`` (Arthur and Vassilvitskii 2007); ``rows``: K distinct rows at random, cheap where K is
            thousands; or (K, D) centroids.
        seed: of the draws.
        budget: scores of row and centroid that are held at a time.

    Raises:
        DataError: if there are fewer rows than clusters, or a number is not finite.

    Example:
        >>> found = kmeans(torch.tensor([[0.0], [0.1], [5.0], [5.1]]), 2)
        >>> sorted(found.centroids.flatten().tolist()), round(found.objective, 4)
        ([0.05000000074505806, 5.050000190734863], 0.01)
    """
    rows = rows.float()
    if spherical:
        rows = unit(rows)
    parts = [int(str(count)) for count in collectives.gather_objects(len(rows))]
    finite = collectives.total((~finite_rows(rows)).sum())
    if int(finite):
        raise DataError(f"K-means met {int(finite)} rows that are not finite: leave them out, or look at the model.")
    if sum(parts) < clusters or clusters < 1:
        raise DataError(f"K-means cannot make {clusters} clusters of {sum(parts)} rows: use between 1 and that many.")
    space = _Space(rows, sum(parts), sum(parts[: collectives.rank()]), spherical, budget)
    best: KMeans | None = None
    for restart in range(1 if isinstance(start, Tensor) else restarts):
        found = _lloyd(space, _first(space, clusters, start, seed, restart), iterations)
        # A relative margin: the same optimum found twice must not be told apart by rounding.
        if best is None or found.objective < best.objective * (1 - 1e-6):
            best = found
    assert best is not None
    return best


def means_of(rows: Tensor, labels: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Return (K, D) float32, the mean of the rows (R, D) of each label over all processes, and their number (K,).

    `labels` (R,) are 0 to K - 1, negative for rows left out; a label without a row has zeros.

    Example:
        >>> means_of(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([1, 1, -1]), 2)[0].tolist()
        [[0.0], [2.0]]
    """
    there = labels >= 0
    if not there.all():
        rows, labels = rows[there], labels[there]
    sums = collectives.total(_sums(rows, labels, clusters))
    counts = collectives.total(torch.bincount(labels, minlength=clusters))
    return (sums / counts.clamp(min=1)[:, None]).float(), counts


@torch.no_grad()
def nearest_centroids(
    rows: Tensor, centroids: Tensor, count: int, *, spherical: bool = False, budget: int = 2**24
) -> Tensor:
    """Return the `count` of K centroids (K, D) nearest to each row (R, D), nearest first, (R, count) int64.

    `spherical` is by cosine, of centroids at unit length; `budget` as in `kmeans`.

    Example:
        >>> nearest_centroids(torch.tensor([[0.9]]), torch.tensor([[0.0], [1.0], [5.0]]), 2).tolist()
        [[1, 0]]
    """
    less = None if spherical else centroids.square().sum(dim=1) / 2
    return nearest(rows.float(), centroids, count, less=less, block=budget).rows


def _cut(rows: Tensor, budget: int) -> int:
    """How many rows are worked on together: on a processor few enough to stay in its cache."""
    return max(1, min(budget, 2**17 if rows.device.type == "cpu" else budget) // max(rows.shape[1], 1))


@dataclass(frozen=True)
class _Space:
    """Own rows, the number of everybody's, and how many stand before them."""

    rows: Tensor
    total: int
    before: int
    spherical: bool
    budget: int

    def fetch(self, index: list[int]) -> Tensor:
        """Return rows by their global index, on every process."""
        chosen = torch.tensor(index, device=self.rows.device) - self.before
        own = (chosen >= 0) & (chosen < len(self.rows))
        out = self.rows.new_zeros(len(index), self.rows.shape[1])
        out[own] = self.rows[chosen[own]]
        return collectives.total(out)

    def nearest(self, centroids: Tensor) -> Tensor:
        """Return the nearest centroid of each own row, (R,); equal ones go to the first."""
        return nearest_centroids(self.rows, centroids, 1, spherical=self.spherical, budget=self.budget)[:, 0]

    def distance(self, centroids: Tensor, labels: Tensor | None) -> Tensor:
        """Return each own row's squared distance to its centroid (to the only one without labels), (R,) float64."""
        step = _cut(self.rows, self.budget)
        to = repeat(centroids) if labels is None else (centroids[some] for some in labels.split(step))
        out = []
        for rows, own in zip(self.rows.split(step), to, strict=False):
            out.append((1 - (rows * own).sum(1) if self.spherical else (rows - own).square().sum(1)).clamp(min=0))
        return torch.cat(out).double()


# starts -------------------------------------------------------------------------------------------------------------


def _first(space: _Space, clusters: int, start: Start | Tensor, seed: int, restart: int) -> Tensor:
    if isinstance(start, Tensor):
        return start.to(space.rows)
    draws = numpy_generator(seed, restart, "k-means start")
    if start == "rows":
        return space.fetch(draws.choice(space.total, size=clusters, replace=False).tolist())
    chosen = [space.fetch([int(draws.integers(space.total))])]
    distance = torch.full((len(space.rows),), torch.inf, dtype=torch.float64, device=space.rows.device)
    for draw in draws.random(clusters - 1).tolist():
        distance = torch.minimum(distance, space.distance(chosen[-1], None))
        chosen.append(_drawn(space, distance, draw))
    return torch.cat(chosen)


def _drawn(space: _Space, mass: Tensor, draw: float) -> Tensor:
    """Return the row at which the running sum of masses, over all processes, passes draw x total; (1, D)."""
    own = mass.cpu().cumsum(0)  # running sums on CUDA may differ from one time to the next
    totals = torch.zeros(collectives.world_size(), dtype=torch.float64)
    totals[collectives.rank()] = own[-1] if len(own) else 0.0
    passed = collectives.total(totals.to(mass.device)).cpu().cumsum(0)
    if float(passed[-1]) <= 0:  # all rows are chosen already: any will do, and its cluster stays empty
        return space.fetch([min(int(draw * space.total), space.total - 1)])
    at = draw * passed[-1]
    holder = int(torch.searchsorted(passed, at, right=True))
    row = space.rows.new_zeros(1, space.rows.shape[1])
    if holder == collectives.rank():
        below = at - (passed[holder - 1] if holder else 0)
        place = int(torch.searchsorted(own, below, right=True))
        row = space.rows[min(place, len(own) - 1)][None]
    return collectives.total(row)


# iterations ---------------------------------------------------------------------------------------------------------


def _lloyd(space: _Space, centroids: Tensor, iterations: int) -> KMeans:
    clusters = len(centroids)
    labels = torch.full((len(space.rows),), -1, device=space.rows.device)
    counts = torch.zeros(clusters, dtype=torch.int64)
    for _ in range(max(iterations, 1)):
        found = space.nearest(centroids)
        counts = collectives.total(torch.bincount(found, minlength=clusters))
        if int((counts == 0).sum()):
            found = _filled(space, found, counts, space.distance(centroids, found))
        moved = int(collectives.total((found != labels).sum()))
        labels = found
        centroids, counts = means_of(space.rows, labels, clusters)
        if space.spherical:
            centroids = unit(centroids)
        if not moved:
            break
    objective = float(collectives.total(space.distance(centroids, labels).sum()))
    return KMeans(centroids, labels, counts, objective)


def _filled(space: _Space, labels: Tensor, counts: Tensor, distance: Tensor) -> Tensor:
    """Give each empty cluster one of the farthest rows, never the last one of another cluster."""
    empty = (counts == 0).nonzero().flatten().tolist()
    own = torch.argsort(distance, descending=True, stable=True)[: 2 * len(empty)]
    far = collectives.gather_rows(distance[own])
    where = collectives.gather_rows(torch.stack([own + space.before, labels[own]], dim=1))
    order = torch.argsort(far, descending=True, stable=True)[: 2 * len(empty)].tolist()
    left, labels = counts.tolist(), labels.clone()
    for i in order:
        row, label = where[i].tolist()
        if not empty or float(far[i]) <= 0:
            break
        if left[label] > 1:
            left[label] -= 1
            if 0 <= row - space.before < len(labels):
                labels[row - space.before] = empty[0]
            empty.pop(0)
    return labels


def _sums(rows: Tensor, labels: Tensor, clusters: int) -> Tensor:
    """Sum in float64, so that the order of rows and their division among processes leave no trace in float32."""
    sums = torch.zeros(clusters, rows.shape[1], dtype=torch.float64, device=rows.device)
    step = _cut(rows, 2**22)
    for i in range(0, len(rows), step):
        sums.index_add_(0, labels[i : i + step], rows[i : i + step].double())
    return sums

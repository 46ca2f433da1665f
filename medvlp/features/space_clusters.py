"""Clusters of several feature spaces over one set of samples, and the centroids of any space under any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.encoded import unit
from medvlp.features.kmeans import kmeans, means_of, nearest_centroids
from medvlp.features.nearest import finite_rows


@dataclass(frozen=True)
class SpaceClusters:
    """Clusters of N samples, those of all processes in rank order, in each of several spaces.

    Attributes:
        labels: space -> (N,) int64, the cluster of each sample, -1 where it has no row.
        nearest: space -> (N, n) int64, the clusters whose centroids are nearest, nearest first; empty for n = 1.
        centroids: (by, space) -> (K, D), the mean rows of `space` under the labels of `by`; zero where there is none.
    """

    labels: Mapping[str, Tensor]
    nearest: Mapping[str, Tensor]
    centroids: Mapping[tuple[str, str], Tensor]


@torch.no_grad()
def cluster_spaces(
    features: Mapping[str, Tensor],
    clusters: int,
    *,
    nearest: int = 1,
    spherical: bool = False,
    iterations: int = 20,
    restarts: int = 3,
    unit_centroids: bool = False,
    seed: int = 0,
) -> SpaceClusters:
    """Make clusters of each space by k-means, and take the means of every space under every labelling.

    Args:
        features: space -> (R, D), this process's rows of the same R samples; a row that is not finite is none.
        clusters: K.
        nearest: n, clusters of a sample.
        spherical: as the next two and the seed, see `kmeans`.
        iterations: most of one start.
        restarts: starts.
        unit_centroids: whether those means are scaled to unit length.
        seed: of the first centroids.

    Raises:
        DataError: if a space has fewer rows than clusters.

    Example:
        >>> image, text = torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([[5.0], [2.0], [2.1]])
        >>> found = cluster_spaces({"image": image, "text": text}, 2)
        >>> sorted(found.centroids["text", "image"].flatten().tolist())  # of samples that have like texts
        [0.0, 5.0]
    """
    there = {space: finite_rows(rows) for space, rows in features.items()}
    labels, near = {}, {}
    for space, rows in features.items():
        own = rows[there[space]]
        found = kmeans(own, clusters, spherical=spherical, iterations=iterations, restarts=restarts, seed=seed)
        labels[space] = torch.full((len(rows),), -1, device=rows.device)
        labels[space][there[space]] = found.labels
        if nearest > 1:
            near[space] = torch.full((len(rows), nearest), -1, device=rows.device)
            near[space][there[space]] = nearest_centroids(own, found.centroids, nearest, spherical=spherical)
    centroids = {}
    for by, own in labels.items():
        for space, rows in features.items():
            means, _ = means_of(rows, torch.where(there[space], own, -1), clusters)
            centroids[by, space] = unit(means) if unit_centroids else means
    every = [{space: collectives.gather_rows(own).cpu() for space, own in each.items()} for each in (labels, near)]
    return SpaceClusters(every[0], every[1], centroids)


def soft_labels(labels: Tensor, centroids: Tensor, *, temperature: float) -> Tensor:
    """Return softmax_j(c_y . c_j / temperature) over the centroids c (K, D) of their space, for each label y (R,).

    (R, K); zeros where a label is NaN.

    Example:
        >>> soft_labels(torch.tensor([1.0, torch.nan]), torch.eye(2), temperature=1.0).sum(dim=1).tolist()
        [1.0, 0.0]
    """
    centroids = centroids.to(labels.device)
    known = labels.isfinite()
    index = torch.where(known, labels, 0.0).long()
    soft = (centroids[index] @ centroids.T / temperature).softmax(dim=1)
    return torch.where(known[:, None], soft, 0.0)

"""How many groups there are: clusters that are split and merged by their marginal likelihood, some of them known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, multigammaln

from medvlp.features.prototypes import LEAST_TEMPERATURE

_FEW = 5  # a part of that few rows is not split off
_ITERATIONS = 50


@dataclass(frozen=True)
class Prior:
    """Normal-inverse-Wishart prior of a cluster's mean and covariance.

    Attributes:
        mean: (D,) m0, the mean of all rows.
        psi: scale of the covariance, psi I; about the variance in a cluster, times D + 1.
        kappa: rows that the mean is worth.
    """

    mean: np.ndarray
    psi: float = 0.005
    kappa: float = 1e-4

    def log_marginal(self, rows: np.ndarray) -> float:
        r"""Return log p(rows), mean and covariance integrated out.

        -(n D / 2) ln pi + ln G_D(nu_n / 2) - ln G_D(nu / 2) + (nu / 2) ln |Psi| - (nu_n / 2) ln |Psi_n| + (D / 2) ln
        (kappa / kappa_n), with nu = D + 1, kappa_n = kappa + n, nu_n = nu + n and Psi_n = Psi + S + (kappa n / kappa_n)
        (mean - m0)(mean - m0)^T (Murphy 2007, equation 266).

        Example:
            >>> round(Prior(np.zeros(1), psi=1.0, kappa=1.0).log_marginal(np.zeros((1, 1))), 4)  # Student's t at 0
            -1.0397
        """
        n, d = rows.shape
        nu, mean = d + 1, rows.mean(axis=0)
        centred, away = rows - mean, (mean - self.mean)[None]
        psi_n = self.psi * np.eye(d) + centred.T @ centred + self.kappa * n / (self.kappa + n) * away.T @ away
        return float(
            -n * d / 2 * np.log(np.pi)
            + multigammaln((nu + n) / 2, d)
            - multigammaln(nu / 2, d)
            + nu / 2 * d * np.log(self.psi)
            - (nu + n) / 2 * np.linalg.slogdet(psi_n)[1]
            + d / 2 * np.log(self.kappa / (self.kappa + n))
        )

    def log_ratio(self, first: np.ndarray, second: np.ndarray) -> float:
        """Return how much likelier rows are as two clusters than as one: ln G(n1) + L1 + ln G(n2) + L2 - ...

        A Dirichlet process mixture of concentration 1 splits where this is above 0 and merges where it is below (Chang
        and Fisher 2013).
        """
        apart = sum(gammaln(len(part)) + self.log_marginal(part) for part in (first, second))
        both = np.concatenate([first, second])
        return float(apart - gammaln(len(both)) - self.log_marginal(both))


def part_known(
    rows: np.ndarray,
    known: np.ndarray,
    clusters: int,
    *,
    classes: int | None = None,
    seed: int = 0,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """K-means in which the rows of a known class stay in its cluster, (N,) labels; a class without any stays empty.

    Args:
        rows: (N, D).
        known: (N,) class of each row, 0 to C - 1, or -1.
        clusters: K, at least C: the first C clusters are the classes.
        classes: C; None: up to the last that a row is of.
        seed: of the other clusters' first centroids (k-means++).
        start: (K, D) centroids instead.

    Example:
        >>> rows = np.array([[0.0], [0.1], [5.0], [5.1]])
        >>> part_known(rows, np.array([-1, -1, 0, -1]), 2).tolist()
        [1, 1, 0, 0]
    """
    classes = int(known.max(initial=-1)) + 1 if classes is None else classes
    empty = np.setdiff1d(np.arange(classes), known)
    if start is None:
        draws = np.random.default_rng(seed)
        centroids = [_mean(rows[known == k]) for k in range(classes)]
        free = rows[known < 0]
        near = np.full(len(free), np.inf)  # squared distance to the nearest centroid that there is
        for k in np.setdiff1d(np.arange(classes), empty):
            near = np.minimum(near, np.square(free - centroids[k]).sum(axis=1))
        while len(centroids) < clusters:
            far = np.where(np.isinf(near), 1.0, near)
            chance = far / far.sum() if far.sum() > 0 else None
            centroids.append(free[draws.choice(len(free), p=chance)])
            near = np.minimum(near, np.square(free - centroids[-1]).sum(axis=1))
        start = np.stack(centroids)
    labels, centroids = np.full(len(rows), -1), start.astype(np.float64)
    for _ in range(_ITERATIONS):
        scores = rows @ centroids.T - np.square(centroids).sum(axis=1) / 2
        scores[:, empty] = -np.inf
        found = np.where(known >= 0, known, scores.argmax(axis=1))
        if (found == labels).all():
            break
        labels = found
        sums = np.zeros_like(centroids)
        np.add.at(sums, labels, rows)
        count = np.bincount(labels, minlength=len(centroids))[:, None]
        centroids = np.where(count > 0, sums / np.maximum(count, 1), centroids)  # an empty one stays where it was
    return labels


def split_and_merge(
    rows: np.ndarray,
    known: np.ndarray,
    clusters: int,
    *,
    prior: Prior,
    classes: int | None = None,
    rounds: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Cluster rows, some of known classes, and find the number of clusters on the way.

    In each round every cluster that is no known class and falls into two parts is split where that is likelier, and the
    others are merged with their nearest one where that is; each takes part in one merger at most, so that two which are
    each other's nearest give one cluster and not two. Then all rows find their cluster anew.

    Args:
        rows: (N, D).
        known: (N,) class, or -1.
        clusters: how many to begin with, known ones included.
        prior: of a cluster.
        classes: how many are known; None: up to the last that a row is of.
        rounds: most of them; it ends earlier where nothing changes.
        seed: of the first centroids.

    Returns:
        (N,) labels, 0 to K - 1; the known classes come first.

    References:
        Zhao et al. 2023 (GPC), section 3.3; Ronen et al. 2022 (DeepDPM).
    """
    classes = int(known.max(initial=-1)) + 1 if classes is None else classes
    labels = part_known(rows, known, clusters, classes=classes, seed=seed)
    for _ in range(rounds):
        labels = _numbered(labels, classes)
        parts = {k: np.flatnonzero(labels == k) for k in range(classes, labels.max() + 1)}
        split = {k: halves for k, index in parts.items() if (halves := _halves(rows, index, prior)) is not None}
        merged = mergers(rows, {k: index for k, index in parts.items() if k not in split}, prior)
        if not split and not merged:
            break
        gone = {k for pair in merged for k in pair} | set(split)
        groups = [np.flatnonzero(labels == k) for k in range(classes)]
        groups += [index for k, index in parts.items() if k not in gone]
        groups += [half for halves in split.values() for half in halves]
        groups += [np.concatenate([parts[a], parts[b]]) for a, b in merged]
        start = np.stack([_mean(rows[index]) for index in groups])
        labels = part_known(rows, known, len(groups), classes=classes, start=start)
    return _numbered(labels, classes)


def mergers(rows: np.ndarray, parts: dict[int, np.ndarray], prior: Prior) -> list[tuple[int, int]]:
    """Return pairs of clusters that are likelier as one, each cluster at most once, the likeliest first.

    Args:
        rows: (N, D).
        parts: cluster -> its rows.
        prior: of a cluster.
    """
    names = list(parts)
    if len(names) < 2:
        return []
    centroids = np.stack([rows[parts[k]].mean(axis=0) for k in names])
    far = np.square(centroids[:, None] - centroids[None]).sum(axis=2)
    np.fill_diagonal(far, np.inf)
    pairs = {(min(i, j), max(i, j)) for i, j in enumerate(far.argmin(axis=1).tolist())}
    ratios = {pair: prior.log_ratio(*(rows[parts[names[i]]] for i in pair)) for pair in sorted(pairs)}
    chosen: list[tuple[int, int]] = []
    used: set[int] = set()
    for pair in sorted(ratios, key=ratios.__getitem__):
        if ratios[pair] < 0 and not used & set(pair):
            chosen.append((names[pair[0]], names[pair[1]]))
            used |= set(pair)
    return chosen


def densities(rows: np.ndarray, labels: np.ndarray, centroids: np.ndarray, *, mean: float) -> np.ndarray:
    """Return a temperature for each cluster, (K,): mean distance / log(n + 10), brought to a common mean.

    A row that is alone does not tell how widely its cluster lies: it has the highest of them. Values outside the 10th
    and 90th percentile are cut off there (Li et al. 2021, PCL, section 3.3). At least 0.02, as of a cluster of equal
    rows; the common mean of one without rows, which takes no part, and of all where none spreads.

    Example:
        >>> rows = np.array([[0.0], [2.0], [9.0], [9.2]])
        >>> densities(rows, np.array([0, 0, 1, 1]), np.array([[1.0], [9.1]]), mean=0.1).round(3).tolist()
        [0.165, 0.035]
    """
    far = np.sqrt(np.square(rows - centroids[labels]).sum(axis=1))
    count = np.bincount(labels, minlength=len(centroids))
    there = count > 0
    found = np.bincount(labels, far, minlength=len(centroids)) / np.maximum(count, 1) / np.log(count + 10)
    found = np.where(count == 1, found.max(), found)
    found = np.clip(found, *np.percentile(found[there], [10, 90]))
    if not found[there].any():
        return np.full(len(centroids), mean)
    found = mean * found / found[there].mean()
    return np.where(there, np.maximum(found, LEAST_TEMPERATURE), mean)


def _halves(rows: np.ndarray, index: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the two parts of a cluster where they are likelier apart: 2-means, from both ends of its longest axis."""
    if len(index) <= 2 * _FEW:
        return None
    own = rows[index]
    mean = own.mean(axis=0)
    _, sizes, axes = np.linalg.svd(own - mean, full_matrices=False)
    step = sizes[0] / np.sqrt(len(own)) * axes[0]
    side = part_known(own, np.full(len(own), -1), 2, start=np.stack([mean - step, mean + step]))
    halves = index[side == 0], index[side == 1]
    if min(map(len, halves)) <= _FEW or prior.log_ratio(rows[halves[0]], rows[halves[1]]) <= 0:
        return None
    return halves


def _mean(rows: np.ndarray) -> np.ndarray:
    """Return the mean row, (D,); zeros of none."""
    return rows.sum(axis=0) / max(len(rows), 1)


def _numbered(labels: np.ndarray, classes: int) -> np.ndarray:
    """Number clusters without gaps; classes keep their numbers, empty ones too."""
    used = [*range(classes), *(k for k in np.unique(labels).tolist() if k >= classes)]
    place = np.full(max(used, default=0) + 1, -1)
    place[used] = np.arange(len(used))
    return place[labels]

"""Which sample stands at which place of a run: exact epochs, whatever the number of processes, workers and restarts.

The run's stream is epoch after epoch, each one a seeded permutation of the manifest. Position p belongs to epoch p // n
and names the sample ``order(n, epoch)[p % n]``. The global batch k of size B is the positions kB ... kB + B - 1, so
it may run over the end of an epoch; rank r takes its r-th equal contiguous part.

With groups (the patients) an epoch is a permutation of the groups, each of which sends one of its samples, another one
each time: n is their number then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medvlp.core.errors import ConfigError
from medvlp.core.randomness import seed_of

__all__ = ["Groups", "Stream", "order", "rank_part"]


@lru_cache(maxsize=4)
def order(n: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the epoch's permutation of 0..n-1, (n,) int64, read-only.

    It sorts raw Philox words, which are the same on every platform and NumPy version (its `permutation` is not promised
    to be).

    Example:
        >>> sorted(order(5, seed=0, epoch=3).tolist())
        [0, 1, 2, 3, 4]
    """
    words = np.random.Philox(seed_of(seed, epoch, "order")).random_raw(n)
    permutation = np.argsort(words, kind="stable").astype(np.int64)
    permutation.setflags(write=False)
    return permutation


def rank_part(size: int, *, rank: int, world: int) -> slice:
    """Return the part of a global batch that belongs to a process.

    Raises:
        ConfigError: if the batch cannot be cut into equal parts.

    Example:
        >>> rank_part(8, rank=1, world=2)
        slice(4, 8, None)
    """
    if size < 1 or size % world:
        raise ConfigError(
            f"The batch of {size} samples cannot be cut into {world} equal parts: choose a multiple of {world}."
        )
    return slice(rank * size // world, (rank + 1) * size // world)


@dataclass(frozen=True, eq=False)
class Groups:
    """Which samples belong together.

    Attributes:
        members: (n,) the samples, group after group.
        first: (G,) where each group begins in them.
        count: (G,) how many it has.
    """

    members: np.ndarray
    first: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, groups: Sequence[Sequence[int]]) -> Groups:
        """Make them of the samples of each group."""
        count = np.array([len(group) for group in groups], dtype=np.int64)
        members = np.array([index for group in groups for index in group], dtype=np.int64)
        return cls(members, np.cumsum(count) - count, count)

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.count)

    def chosen(self, group: np.ndarray, epoch: int, *, seed: int) -> np.ndarray:
        """Return the sample that each group sends in an epoch: all of them in turn, from a drawn one on.

        Example:
            >>> groups = Groups.of([[0, 1], [2]])
            >>> [groups.chosen(np.array([0, 1]), epoch, seed=0).tolist() for epoch in range(3)]
            [[1, 2], [0, 2], [1, 2]]
        """
        turn = epoch + order(len(self), seed=seed, epoch=-1)[group]
        return self.members[self.first[group] + turn % self.count[group]]


@dataclass(frozen=True)
class Stream:
    """Positions of a run -> indices of a manifest.

    Attributes:
        n: number of samples in the manifest.
        seed: of the run.
        shuffle: whether epochs are permuted; else the manifest's own order, again and again.
        origin: position at which this manifest's first epoch starts (a phase with other data starts its own epochs).
        groups: an epoch has one sample of each; None: every sample.

    Example:
        >>> stream = Stream(n=4, seed=0)
        >>> sorted(stream.indices(0, 8).tolist())
        [0, 0, 1, 1, 2, 2, 3, 3]
    """

    n: int
    seed: int
    shuffle: bool = True
    origin: int = 0
    groups: Groups | None = None

    def indices(self, start: int, stop: int) -> np.ndarray:
        """Return the samples at positions start..stop-1, int64."""
        size = self.n if self.groups is None else len(self.groups)
        positions = np.arange(start - self.origin, stop - self.origin, dtype=np.int64)
        epochs, places = np.divmod(positions, size)
        out = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            found = order(size, seed=self.seed, epoch=epoch)[places[here]] if self.shuffle else places[here]
            out[here] = found if self.groups is None else self.groups.chosen(found, epoch, seed=self.seed)
        return out

"""Which sample stands at which place of a run: exact epochs, whatever the number of processes, workers and restarts.

The run's stream is epoch after epoch, each one a seeded permutation of the manifest. Position p belongs to epoch p // n
and names the sample ``order(n, epoch)[p % n]``. The global batch k of size B is the positions kB ... kB + B - 1, so
it may run over the end of an epoch; rank r takes its r-th equal contiguous part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from medvlp.core.errors import ConfigError
from medvlp.core.randomness import seed_of

__all__ = ["Stream", "order", "rank_part"]


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


@dataclass(frozen=True)
class Stream:
    """Positions of a run -> indices of a manifest.

    Attributes:
        n: number of samples in the manifest.
        seed: of the run.
        shuffle: whether epochs are permuted; else the manifest's own order, again and again.
        origin: position at which this manifest's first epoch starts (a phase with other data starts its own epochs).

    Example:
        >>> stream = Stream(n=4, seed=0)
        >>> sorted(stream.indices(0, 8).tolist())
        [0, 0, 1, 1, 2, 2, 3, 3]
    """

    n: int
    seed: int
    shuffle: bool = True
    origin: int = 0

    def indices(self, start: int, stop: int) -> np.ndarray:
        """Return the samples at positions start..stop-1, int64."""
        positions = np.arange(start - self.origin, stop - self.origin, dtype=np.int64)
        epochs, places = np.divmod(positions, self.n)
        if not self.shuffle:
            return places
        out = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            out[here] = order(self.n, seed=self.seed, epoch=int(epoch))[places[here]]
        return out

"""What every sampler is made of: epochs as seeded permutations, and each process's part of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Protocol

import numpy as np

from medvlp.core.errors import ConfigError
from medvlp.core.grouped import grouped
from medvlp.core.randomness import seed_of


class Sampler(Protocol):
    """Which record of a cohort stands at which place of its stream: a component of `data/samplers`.

    A function of the seed and the place alone, whatever the number of processes, workers and restarts: the global batch
    k of size B is the places kB ... kB + B - 1, of which rank r takes the r-th equal contiguous part. The builder gives
    ``manifest`` (the training records) and ``seed``.
    """

    def indices(self, start: int, stop: int) -> np.ndarray:
        """Return the records at places start..stop-1, int64; place 0 is where the cohort's first epoch begins."""
        ...


@lru_cache(maxsize=4)
def order(n: int, *, seed: int, epoch: int, name: str = "order") -> np.ndarray:
    """Return the epoch's permutation of 0..n-1, (n,) int64, read-only.

    It sorts raw Philox words, which are the same on every platform and NumPy version (its `permutation` is not promised
    to be).
    """
    words = np.random.Philox(seed_of(seed, epoch, name)).random_raw(n)
    permutation = np.argsort(words, kind="stable").astype(np.int64, copy=False)
    permutation.setflags(write=False)
    return permutation


def epochs_of(start: int, stop: int, size: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Cut places into epochs: (epoch, where its places are among those asked for, which places of the epoch they are).

    Example:
        >>> [(epoch, here.tolist(), places.tolist()) for epoch, here, places in epochs_of(2, 5, 3)]
        [(0, [True, False, False], [2]), (1, [False, True, True], [0, 1])]
    """
    epochs, places = np.divmod(np.arange(start, stop, dtype=np.int64), size)
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        yield epoch, here, places[here]


def rows_by_value(values: Iterable[object]) -> dict[object, list[int]]:
    """Return the rows of each value, in the order in which values come first; rows without one are left out."""
    return grouped((value, row) for row, value in enumerate(values) if value is not None and value == value)


def rank_part(size: int, *, rank: int, world: int) -> slice:
    """Return the part of a global batch that belongs to a process."""
    if size < 1 or size % world:
        raise ConfigError(
            f"The batch of {size} samples cannot be cut into {world} equal parts: choose a multiple of {world}."
        )
    return slice(rank * size // world, (rank + 1) * size // world)

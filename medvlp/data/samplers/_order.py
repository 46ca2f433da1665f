"""What every sampler is made of: epochs as seeded permutations, and each process's part of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Annotated, Protocol

import numpy as np

from medvlp.core.errors import ConfigError
from medvlp.core.grouped import grouped
from medvlp.core.randomness import seed_of
from medvlp.core.registry import FromModel
from medvlp.data.manifest import Manifest

Cohort = Annotated[Manifest, FromModel("manifest")]
Seed = Annotated[int, FromModel("seed")]


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


def by_epoch(start: int, stop: int, size: int, records: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the records at places start..stop-1, int64, of what gives those at some places of an epoch of `size`.

    Example:
        >>> by_epoch(2, 5, 3, lambda epoch, places: 10 * epoch + places).tolist()
        [2, 10, 11]
    """
    epochs, places = np.divmod(np.arange(start, stop, dtype=np.int64), size)
    out = np.empty(stop - start, dtype=np.int64)
    for epoch in np.unique(epochs).tolist():
        out[epochs == epoch] = records(epoch, places[epochs == epoch])
    return out


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

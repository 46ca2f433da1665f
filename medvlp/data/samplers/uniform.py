"""Every record once an epoch."""

from __future__ import annotations

import numpy as np

from medvlp.data.samplers._order import Cohort, Seed, by_epoch, order


class Uniform:
    """Epoch after epoch, each one a seeded permutation of the records.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> sampler = Uniform(manifest=Manifest.of({"id": list("abcd"), "text": list("wxyz")}, root=Path(".")), seed=0)
        >>> sorted(sampler.indices(0, 8).tolist())
        [0, 0, 1, 1, 2, 2, 3, 3]
    """

    def __init__(self, *, manifest: Cohort, seed: Seed) -> None:
        self._size = len(manifest)
        self._seed = seed

    def indices(self, start: int, stop: int) -> np.ndarray:
        """See `Sampler`."""
        return by_epoch(start, stop, self._size, lambda epoch, at: order(self._size, seed=self._seed, epoch=epoch)[at])

"""Every record once an epoch."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from medvlp.core.registry import FromModel
from medvlp.data.manifest import Manifest
from medvlp.data.samplers._order import epochs_of, order


class Uniform:
    """Epoch after epoch, each one a seeded permutation of the records.

    Example:
        >>> from pathlib import Path
        >>> sampler = Uniform(manifest=Manifest.of({"id": list("abcd"), "text": list("wxyz")}, root=Path(".")), seed=0)
        >>> sorted(sampler.indices(0, 8).tolist())
        [0, 0, 1, 1, 2, 2, 3, 3]
    """

    def __init__(
        self, *, manifest: Annotated[Manifest, FromModel("manifest")], seed: Annotated[int, FromModel("seed")]
    ) -> None:
        self._size = len(manifest)
        self._seed = seed

    def indices(self, start: int, stop: int) -> np.ndarray:
        """See `Sampler`."""
        out = np.empty(stop - start, dtype=np.int64)
        for epoch, here, places in epochs_of(start, stop, self._size):
            out[here] = order(self._size, seed=self._seed, epoch=epoch)[places]
        return out

"""One record of each patient an epoch, another one each time."""

from __future__ import annotations

import numpy as np

from medvlp.data.grouping import rows_of_each
from medvlp.data.samplers._order import Cohort, Seed, by_epoch, order


class OneOf:
    """An epoch is a permutation of the values of a column, each of which sends one of its records.

    A value sends all its records in turn, from a drawn one on. With ``id.patient`` patients weigh alike, in batches and
    in episodes, however often they came.

    Args:
        column: whose equal values are one; a record without a value is alone.

    Raises:
        DataError: if there is no such column.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> columns = {"id": list("abc"), "text": list("xyz"), "id.patient": ["p", "p", "q"]}
        >>> sampler = OneOf(column="id.patient", manifest=Manifest.of(columns, root=Path(".")), seed=0)
        >>> [sorted(sampler.indices(start, start + 2).tolist()) for start in (0, 2, 4)]
        [[1, 2], [0, 2], [1, 2]]
    """

    def __init__(self, *, column: str, manifest: Cohort, seed: Seed) -> None:
        groups = rows_of_each(manifest, column)
        self._count = np.array([len(group) for group in groups], dtype=np.int64)
        self._first = np.cumsum(self._count) - self._count  # where each group begins among the members
        self._members = np.array([row for group in groups for row in group], dtype=np.int64)
        self._seed = seed

    def indices(self, start: int, stop: int) -> np.ndarray:
        """See `Sampler`."""
        size = len(self._count)

        def records(epoch: int, places: np.ndarray) -> np.ndarray:
            group = order(size, seed=self._seed, epoch=epoch)[places]
            turn = epoch + order(size, seed=self._seed, epoch=-1)[group]
            return self._members[self._first[group] + turn % self._count[group]]

        return by_epoch(start, stop, size, records)

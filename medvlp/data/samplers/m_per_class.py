"""Several records of each class side by side, beside those of the classes that are most like it (CLIPPINGS)."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import numpy as np
from pydantic import Field

from medvlp.core.errors import ConfigError
from medvlp.data.manifest import Manifest
from medvlp.data.samplers._order import Cohort, Seed, by_epoch, order, rows_by_value


class MPerClass:
    """An epoch is a permutation of the values of a column, each of which sends `m` of its records, one after the other.

    A value sends its records in turn, from a drawn one on; one that has fewer than `m` sends some of them again, which
    random views make another picture. With `vectors` the permutation is one of clumps: a value is followed by the
    `together` - 1 that are nearest to it of those not placed yet, by the cosine of their mean vectors, so that a batch
    holds its hardest negatives. Let the batch be a multiple of `m` times `together`; where the number of values is no
    multiple of `together`, batches cut a clump in two from the second epoch on.

    Records without a value never come. The clumps of an epoch cost, for N values, N^2 / `together` cosines.

    Args:
        column: whose equal values are one class: ``id.patient``, ``id.study``, ``label.effusion``.
        m: records of a value side by side; the paper's is 3.
        together: values in a clump; the paper's is 3.
        vectors: field with a stored vector of each record, ``vector.NAME``; None: values are in random order.

    Raises:
        DataError: if there is no such column.
        ConfigError: if the column has no value.

    References:
        Arora et al. 2023 (CLIPPINGS), batches of the second stage.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": list("abcd"), "text": list("wxyz"), "id.patient": ["p", "q", "p", None]}
        >>> sampler = MPerClass(column="id.patient", m=2, manifest=Manifest.of(columns, root=Path(".")), seed=0)
        >>> sampler.indices(0, 4).tolist()  # q has one record
        [1, 1, 2, 0]
    """

    def __init__(
        self,
        *,
        column: str,
        m: Annotated[int, Field(ge=1)] = 3,
        together: Annotated[int, Field(ge=1)] = 3,
        vectors: str | None = None,
        manifest: Cohort,
        seed: Seed,
    ) -> None:
        rows = rows_by_value(manifest.column(column))
        if not rows:
            raise ConfigError(f"sampler 'm_per_class' finds no value in column {column!r}: name another column.")
        self._members = np.array([row for each in rows.values() for row in each], dtype=np.int64)
        self._count = np.array([len(each) for each in rows.values()], dtype=np.int64)
        self._first = np.cumsum(self._count) - self._count  # where each value begins among the members
        self._m = m
        self._together = together
        self._seed = seed
        self._means = None if vectors is None else self._mean_vectors(manifest, vectors)
        self._order = lru_cache(maxsize=2)(self._drawn)  # a batch may lie in two epochs

    def indices(self, start: int, stop: int) -> np.ndarray:
        """See `Sampler`."""
        values = len(self._count)
        drawn = order(values, seed=self._seed, epoch=-1, name="m_per_class")

        def records(epoch: int, places: np.ndarray) -> np.ndarray:
            place, turn = np.divmod(places, self._m)
            value = self._order(epoch)[place]
            turns = drawn[value] + epoch * self._m + turn
            return self._members[self._first[value] + turns % self._count[value]]

        return by_epoch(start, stop, values * self._m, records)

    def _drawn(self, epoch: int) -> np.ndarray:
        """Return the values in the order of an epoch."""
        made = order(len(self._count), seed=self._seed, epoch=epoch, name="m_per_class")
        if self._means is not None and self._together > 1:
            made = _clumps(made, self._means, self._together)
        return made

    def _mean_vectors(self, manifest: Manifest, field: str) -> np.ndarray:
        """Return the mean of each value's unit vectors at unit length, (V, D); 0 where there is none."""
        stored = manifest.arrow(field).to_pylist()
        width = next((len(vector) for vector in stored if vector is not None), 0)
        found = np.array([[0.0] * width if vector is None else vector for vector in stored], dtype=np.float32)
        means = np.add.reduceat(_unit(found)[self._members], self._first)
        return _unit(means)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _clumps(values: np.ndarray, means: np.ndarray, together: int) -> np.ndarray:
    """Return the values, each that comes first in its clump followed by its nearest of those that are left."""
    left = np.ones(len(values), dtype=bool)
    out: list[int] = []
    for value in values.tolist():
        if left[value]:
            left[value] = False
            others = np.flatnonzero(left)
            nearest = others[np.argsort(-(means[others] @ means[value]), kind="stable")[: together - 1]]
            left[nearest] = False
            out += [value, *nearest.tolist()]
    return np.array(out, dtype=np.int64)

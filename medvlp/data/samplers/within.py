"""Batches from within one value: all samples of a batch are of the same cluster, site or finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Protocol, cast

import numpy as np
from pydantic import Field
from torch import Tensor

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.registry import FromModel
from medvlp.data.samplers._order import Cohort, Seed, by_epoch, order, rows_by_value

__all__ = ["Within"]


class Labelling(Protocol):
    """A state that labels samples."""

    def labels_of(self, ids: list[str]) -> Tensor:
        """Return the label of each sample, (n,) int64; -1 where it has none."""
        ...


class Within:
    """All records of a batch have one value, so that no loss between them is lowered by what tells the values apart.

    An epoch is a permutation of the batches of all values. A value's records are permuted and cut into batches, the
    last of which is filled with the first of them: each comes once or, of a value with fewer records than a batch, some
    times. Records without a value, and those of values with fewer than `least`, never come.

    Args:
        column: of the manifest, whose equal values are together: ``site``, ``label.effusion``.
        state: name of a state that labels samples, such as ``mcl``, in place of a column. The phase's feature pass of
            it comes first, and batches begin anew after each.
        least: records that a value needs.

    Raises:
        DataError: if there is no such column.
        ConfigError: if column and state are both given or both missing, there is no such state or it labels nothing,
            or no value has `least` records.

    References:
        Zhang et al. 2024 (CLIP-MoE), multistage contrastive learning.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> columns = {"id": list("abcde"), "text": list("vwxyz"), "site": list("ABABC")}
        >>> sampler = Within(column="site", manifest=Manifest.of(columns, root=Path(".")), seed=0, batch=2)
        >>> sorted(sorted(sampler.indices(2 * k, 2 * k + 2).tolist()) for k in range(2))
        [[0, 2], [1, 3]]
    """

    def __init__(
        self,
        *,
        column: str | None = None,
        state: str | None = None,
        least: Annotated[int, Field(ge=1)] = 2,
        manifest: Cohort,
        seed: Seed,
        batch: Annotated[int, FromModel("batch")],
        states: Annotated[Mapping[str, object], FromModel("states")] = {},
    ) -> None:
        if (column is None) == (state is None):
            raise ConfigError("sampler 'within' takes a column of the data or a state: give one of the two.")
        values: list[object]
        if state is not None:
            if state not in states:
                raise ConfigError(f"sampler 'within' finds no state {state!r}: {did_you_mean(state, states)}.")
            labels = cast("Labelling", states[state]).labels_of(manifest.column("id").tolist()).tolist()
            values = [None if label < 0 else label for label in labels]
        else:
            values = manifest.column(str(column)).tolist()
        found = rows_by_value(values).values()
        self._rows = [np.array(each, dtype=np.int64) for each in found if len(each) >= least]
        if not self._rows:
            raise ConfigError(
                f"sampler 'within' finds no value of {state or column!r} with {least} records: lower least, use fewer "
                "values, or let the phase refresh the state."
            )
        self._batch = batch
        self._seed = seed
        self._counts = [-(-len(each) // batch) for each in self._rows]

    def indices(self, start: int, stop: int) -> np.ndarray:
        """See `Sampler`."""
        total, first = sum(self._counts), np.cumsum([0, *self._counts])

        def records(epoch: int, places: np.ndarray) -> np.ndarray:
            batches, place = np.divmod(places, self._batch)
            chosen = order(total, seed=self._seed, epoch=epoch, name="within")[batches]
            value = np.searchsorted(first, chosen, side="right") - 1
            turn = (chosen - first[value]) * self._batch + place
            found = np.empty(len(places), dtype=np.int64)
            for each in np.unique(value).tolist():
                rows, own = self._rows[each], value == each
                permuted = order(len(rows), seed=self._seed, epoch=epoch, name=f"within {each}")
                found[own] = rows[permuted[turn[own] % len(rows)]]
            return found

        return by_epoch(start, stop, total * self._batch, records)

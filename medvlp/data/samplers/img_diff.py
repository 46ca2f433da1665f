"""Pairs of studies that differ in one finding, next to each other (Img-Diff, Jiao et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvlp.core.errors import ConfigError
from medvlp.core.grouped import grouped
from medvlp.core.randomness import hashed_uniform
from medvlp.data.grouping import rows_of_each
from medvlp.data.samplers._order import Cohort, Seed, by_epoch, order


class ImgDiff:
    """Places 2k and 2k + 1 of the stream hold a record and one whose labels differ from its own in one finding.

    An epoch is a permutation of the records, each followed by a partner: one of the same patient, if there is one; else
    a finding is drawn, each as likely as another in which some record differs, so that rare findings have their part,
    and then one of those records. A record without a partner is followed by the next of the permutation. All that is
    drawn is a function of the seed and the place. Let the batch be even.

    Args:
        labels: findings that are compared (columns ``label.LABEL``); None: all of the manifest. The one that differs is
            1 in one record and 0 in the other; the others are equal, or blank or uncertain in both.
        within: column whose equal values make partners of first choice: ``id.patient`` gives a patient's study before
            and after; None: there is none.

    Raises:
        DataError: if there is no such column.
        ConfigError: if there are no labels, or no two records differ in one.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> columns = {"id": list("abcd"), "text": list("wxyz"), "label.e": [1, 0, 1, 1], "label.n": [0, 0, 1, None]}
        >>> sampler = ImgDiff(within=None, manifest=Manifest.of(columns, root=Path(".")), seed=0)
        >>> {tuple(sampler.indices(2 * k, 2 * k + 2).tolist()) for k in range(8)} >= {(1, 0), (2, 0)}
        True
    """

    def __init__(
        self, *, labels: Sequence[str] | None = None, within: str | None = "id.patient", manifest: Cohort, seed: Seed
    ) -> None:
        names = manifest.names_of("label") if labels is None else [f"label.{label}" for label in labels]
        if not names:
            raise ConfigError("sampler 'img_diff' finds no label in the manifest: pairs are made of labels.")
        values = np.stack([manifest.column(name).astype(np.float64) for name in names], axis=1)
        self._labels = np.where((values == 1) | (values == 0), values, 2).astype(np.int8)  # 2: unknown
        self._alike = grouped((own.tobytes(), row) for row, own in enumerate(self._labels))
        self._group = {} if within is None else {row: g for g in rows_of_each(manifest, within) for row in g}
        self._seed = seed
        if not any(self._others(rows[0]) for rows in self._alike.values()):
            raise ConfigError(
                f"sampler 'img_diff' finds no two records that differ in one of {', '.join(names)}: name fewer labels."
            )

    def indices(self, start: int, stop: int) -> np.ndarray:
        """See `Sampler`."""
        return by_epoch(start, stop, 2 * len(self._labels), self._records)

    def _records(self, epoch: int, places: np.ndarray) -> np.ndarray:
        size = len(self._labels)
        records = order(size, seed=self._seed, epoch=epoch)
        draws = hashed_uniform(self._seed, "img_diff", 2, epoch * size + places // 2)
        pairs = zip(places.tolist(), draws.tolist(), strict=True)
        return np.array([self._partner(records, at // 2, draw) if at % 2 else records[at // 2] for at, draw in pairs])

    def _partner(self, records: np.ndarray, place: int, draw: Sequence[float]) -> int:
        row = int(records[place])
        beside = [other for other in self._group.get(row, ()) if self._apart(row, other)]
        choices = [beside] if beside else self._others(row)
        if not choices:
            return int(records[(place + 1) % len(records)])
        chosen = choices[int(draw[0] * len(choices))]
        return chosen[int(draw[1] * len(chosen))]

    def _apart(self, row: int, other: int) -> bool:
        differ = np.flatnonzero(self._labels[row] != self._labels[other])
        return len(differ) == 1 and int(self._labels[row, differ[0]] + self._labels[other, differ[0]]) == 1

    def _others(self, row: int) -> list[list[int]]:
        """Return the records that differ in each one finding, where there are some."""
        found = []
        for place in np.flatnonzero(self._labels[row] != 2).tolist():
            turned = self._labels[row].copy()
            turned[place] = 1 - turned[place]
            found.append(self._alike.get(turned.tobytes(), []))
        return [rows for rows in found if rows]

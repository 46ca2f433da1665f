"""Shares of an epoch by the values of a column: rare findings as often as common ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise

import numpy as np

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.data.samplers._order import Cohort, Seed, by_epoch, order, rows_by_value


class Balanced:
    """Each value of a column has its share of every epoch, and sends its records in turn, each as often as the others.

    An epoch is as long as there are records with a weight, and a seeded permutation: a value of share w has w of it,
    rounded so that the shares fill it (largest remainder). Its records follow each other in permutations of their own,
    which go on over the epochs. Records without a value, or of a value that has no weight, never come.

    Args:
        column: ``label.effusion``, ``site`` ...
        weights: value -> weight; None: all values that there are alike. Labels are 1, 0 and -1.

    Raises:
        DataError: if there is no such column.
        ConfigError: for a weight that is not positive, gives a value less than one record an epoch, or is of a value
            that no record has; or a column without values.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> columns = {"id": list("abcde"), "text": list("vwxyz"), "site": ["A", "A", "A", "B", None]}
        >>> sampler = Balanced(column="site", manifest=Manifest.of(columns, root=Path(".")), seed=0)
        >>> sorted(sampler.indices(0, 8).tolist())
        [0, 1, 1, 2, 3, 3, 3, 3]
    """

    def __init__(
        self, *, column: str, weights: Mapping[str | int | float, float] | None = None, manifest: Cohort, seed: Seed
    ) -> None:
        rows = {_word(value): found for value, found in rows_by_value(manifest.column(column)).items()}
        if not rows:
            raise ConfigError(f"sampler 'balanced' finds no value in column {column!r}: name another column.")
        given = dict.fromkeys(rows, 1.0) if weights is None else {_named(v, rows): w for v, w in weights.items()}
        for value, weight in given.items():
            if value not in rows:
                raise ConfigError(
                    f"weights of sampler 'balanced' names {value!r}, which no record has in {column!r}: "
                    f"{did_you_mean(value, rows)}."
                )
            if not weight > 0:
                raise ConfigError(f"weights of sampler 'balanced' gives {value!r} {weight}: use a number above 0.")
        self._rows = [np.array(rows[value], dtype=np.int64) for value in sorted(given)]
        self._names = [f"balanced {value}" for value in sorted(given)]
        self._seed = seed
        self._counts = _shares(np.array([given[value] for value in sorted(given)]), sum(map(len, self._rows)))
        never = [value for value, count in zip(sorted(given), self._counts.tolist(), strict=True) if not count]
        if never:
            raise ConfigError(
                f"weights of sampler 'balanced' gives {never[0]!r} less than one record in an epoch of "
                f"{int(self._counts.sum())}, so that it would never come: give it more, or leave it out."
            )
        self._values = np.repeat(np.arange(len(self._rows)), self._counts)
        self._epoch = lru_cache(maxsize=2)(self._drawn)  # a batch may lie in two

    def indices(self, start: int, stop: int) -> np.ndarray:
        """See `Sampler`."""
        return by_epoch(start, stop, len(self._values), lambda epoch, places: self._epoch(epoch)[places])

    def _drawn(self, epoch: int) -> np.ndarray:
        """Return the records of an epoch."""
        value = self._values[order(len(self._values), seed=self._seed, epoch=epoch)]
        out = np.empty(len(value), dtype=np.int64)
        for k, count in enumerate(self._counts.tolist()):
            # Turns of a value are counted from the begin of the run.
            turns = epoch * count + np.arange(count)
            out[value == k] = self._in_turn(self._rows[k], turns, self._names[k])
        return out

    def _in_turn(self, rows: np.ndarray, turns: np.ndarray, name: str) -> np.ndarray:
        rounds, places = np.divmod(turns, len(rows))
        cuts = [0, *(np.flatnonzero(np.diff(rounds)) + 1).tolist(), len(turns)]
        out = np.empty_like(places)
        for start, stop in pairwise(cuts):  # a rare value has thousands of rounds in an epoch
            permuted = order(len(rows), seed=self._seed, epoch=int(rounds[start]), name=name)
            out[start:stop] = rows[permuted[places[start:stop]]]
        return out


def _shares(weights: np.ndarray, total: int) -> np.ndarray:
    """Return whole numbers in proportion to the weights that sum to `total`."""
    exact = weights / weights.sum() * total
    counts = np.floor(exact).astype(np.int64)
    rest = np.argsort(counts - exact, kind="stable")[: total - int(counts.sum())]
    counts[rest] += 1
    return counts


def _word(value: object) -> str:
    """Return a value as it is named: 1 and 1.0 are one label."""
    return str(int(value)) if isinstance(value, (int, float, np.number)) and float(value).is_integer() else str(value)


def _named(value: object, rows: Mapping[str, object]) -> str:
    """Return the word of a key of `weights`: a run's config.yaml writes 1.0 as '1.0'."""
    word = _word(value)
    with suppress(ValueError):
        return word if word in rows else _word(float(word))
    return word

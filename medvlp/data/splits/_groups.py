"""Who stands together, and where a group falls: a function of the seed and the group alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated

import numpy as np

from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.core.registry import FromModel, readable
from medvlp.data.manifest import Manifest
from medvlp.data.splits._lists import PART_WORDS

Cohort = Annotated[Manifest, FromModel("manifest")]
DEFAULT_FRACTIONS: dict[str, float] = {"train": 0.7, "validate": 0.1, "test": 0.2}

# Below so many groups, places that are drawn miss the shares by more than a fifth (a tenth of 300: 30 +- 5).
FEW = 300


class Grouped:
    """The records of a manifest by group, groups in the order of their places: the order of rows does not enter.

    Attributes:
        by: column whose equal values stay together.
        names: the groups, by growing place.
        places: u in [0, 1) of each.
    """

    def __init__(self, values: np.ndarray, *, by: str, seed: int) -> None:
        unique, code = np.unique(values.astype(str), return_inverse=True)
        places = np.array([place(seed, name) for name in unique])
        order = np.lexsort((unique, places))
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        self.by = by
        self.names: np.ndarray = unique[order]
        self.places: np.ndarray = places[order]
        self.code: np.ndarray = rank[code]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> np.ndarray:
        """Records of each group."""
        return np.bincount(self.code, minlength=len(self))

    def count(self, rows: np.ndarray) -> np.ndarray:
        """Records of each group among the rows of a mask."""
        return np.bincount(self.code[rows], minlength=len(self))


def grouped(manifest: Manifest, *, by: str, seed: int) -> Grouped:
    """Group the records by patient or another column."""
    if by not in manifest:
        raise DataError(
            f"A split by {by} needs that column, and the manifest has {', '.join(manifest.names)}: "
            "name the patient column when indexing."
            if by == "id.patient"
            else f"A split by {by} needs that column: {did_you_mean(by, manifest.names)}."
        )
    missing = manifest.arrow(by).null_count
    if missing:
        raise DataError(
            f"{missing} of {len(manifest)} records have no {by}, so a split could leak: fill it in, or leave "
            f"them out, in a configuration by data.having=[{by}]."
        )
    return Grouped(manifest.column(by), by=by, seed=seed)


def place(seed: int, group: str) -> float:
    """Return the first 64 bits of SHA-256(seed, group) as a number in [0, 1)."""
    digest = hashlib.sha256(f"{seed}\x1f{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def checked_fractions(fractions: Mapping[str, float] | None) -> dict[str, float]:
    """Return the shares of the parts: train first, test last, others between in the order of their names.

    Whoever draws by them draws the same, in whatever order they are written: the hash of a recipe knows none.
    """
    shares = {str(name): float(share) for name, share in (fractions or DEFAULT_FRACTIONS).items()}
    if any(not 0 <= share <= 1 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError(f"The split fractions {shares} do not sum to 1: change one of them.")
    if "" in shares:
        raise ConfigError("A split fraction has no name: name it, as in {train: 0.8, test: 0.2}.")
    for name in [each for each in shares if each not in DEFAULT_FRACTIONS]:
        lacking = sorted(DEFAULT_FRACTIONS.keys() - shares)
        near = [PART_WORDS.get(name.casefold(), ""), *get_close_matches(name.casefold(), lacking, cutoff=0.75)]
        if meant := next((each for each in near if each in lacking), ""):
            raise ConfigError(f"The split fraction {name!r} would be a part that nothing reads: call it {meant!r}.")
    return {name: shares[name] for name in sorted(shares, key=lambda each: (each != "train", each == "test", each))}


# Of a configuration: refused when it is read, also where a column of parts makes them idle.
Fractions = Annotated[dict[str, float] | None, readable(checked_fractions)]


def cut(places: np.ndarray, shares: Mapping[str, float]) -> np.ndarray:
    """Return the part of each place: the unit interval is cut at the cumulated shares."""
    bounds = np.cumsum(list(shares.values()))
    # The last part that anybody is wanted in takes what rounding leaves above its bound.
    bounds[max(i for i, share in enumerate(shares.values()) if share > 0) :] = 1.0
    names = np.array(list(shares), dtype=object)
    return names[np.searchsorted(bounds, places, side="right")]


def parted(places: np.ndarray, shares: Mapping[str, float], *, by: str) -> np.ndarray:
    """Return the part of each group: its place cut at the shares or, of fewer than `FEW` groups, by its rank.

    By rank the parts have the sizes that were asked for, to the nearest whole group and at least one each. The price:
    adding or removing a group may move others, so a split that must last is stored as lists of ids.

    Args:
        places: u in [0, 1) of each group.
        shares: part -> share, summing to 1.
    """
    wanted = [name for name, share in shares.items() if share > 0]
    if FEW > len(places) >= len(wanted):
        sizes = np.diff(np.floor(np.cumsum([0.0, *shares.values()]) * len(places) + 0.5).astype(np.int64))
        for index in [i for i, share in enumerate(shares.values()) if share > 0 and not sizes[i]]:
            sizes[sizes.argmax()] -= 1
            sizes[index] = 1
        parts = np.empty(len(places), dtype=object)
        parts[np.argsort(places, kind="stable")] = np.repeat(np.array(list(shares), dtype=object), sizes)
    else:
        parts = cut(places, shares)
    empty = [name for name in wanted if not (parts == name).any()]
    if empty:
        asked = ", ".join(f"{name} {shares[name]:g}" for name in wanted)
        raise DataError(
            f"The {len(places)} different {by} leave nobody for {', '.join(empty)} (shares: {asked}): index more of "
            "them, or give fractions with fewer or larger parts."
        )
    return parts


def label_columns(manifest: Manifest, labels: Sequence[str]) -> list[str]:
    """Return label columns by their findings, ``effusion`` or ``label.effusion``; all where none is named."""
    there = manifest.names_of("label")
    if not there:
        raise DataError("The manifest has no label column, so there are no classes to go by: index one.")
    wanted = [name if name.startswith("label.") else f"label.{name}" for name in labels]
    for name in wanted:
        if name not in there:
            finding = name.removeprefix("label.")
            known = [each.removeprefix("label.") for each in there]
            raise DataError(f"The manifest has no label {finding!r}: {did_you_mean(finding, known)}.")
    return wanted or list(there)

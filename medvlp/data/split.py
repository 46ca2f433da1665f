"""Splits by patient, and the proof that none leaks.

The side of a patient is a function of the seed and the patient alone, so that adding patients moves nobody.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.provenance import hash_of
from medvlp.data.cache import Cache
from medvlp.data.contents import content_hashes
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress

__all__ = ["DEFAULT_FRACTIONS", "Leak", "check_split", "refuse_leaks", "split_by_patient", "split_hash"]

DEFAULT_FRACTIONS: dict[str, float] = {"train": 0.7, "validate": 0.1, "test": 0.2}


@dataclass(frozen=True)
class Leak:
    """Two records that are the same in some respect and stand in different splits.

    Attributes:
        kind: ``patient``, ``study`` or ``image`` (the same bytes).
        a: id of one record.
        b: id of the other.
        split_a: split of `a`.
        split_b: split of `b`.
    """

    kind: str
    a: str
    b: str
    split_a: str
    split_b: str


def split_by_patient(
    manifest: Manifest, *, seed: int = 0, fractions: Mapping[str, float] | None = None, by: str = "id.patient"
) -> Manifest:
    """Return the manifest with a ``split`` column in which each patient stands on one side.

    A patient's place is u = SHA-256(seed, patient) / 2^256, cut at the cumulated fractions; fractions are therefore met
    on average over patients, not exactly.

    Args:
        manifest: with the column `by`, no value missing.
        seed: another seed, another split.
        fractions: split name -> share, summing to 1; default `DEFAULT_FRACTIONS`.
        by: column whose equal values stay together.

    Raises:
        ConfigError: if the fractions do not sum to 1.
        DataError: if the column is missing, or some records have no patient.

    Example:
        >>> from pathlib import Path
        >>> m = Manifest.of({"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", "p"]}, root=Path("."))
        >>> len(set(split_by_patient(m).column("split")))
        1
    """
    shares = dict(fractions or DEFAULT_FRACTIONS)
    if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError(f"The split fractions {shares} do not sum to 1: change one of them.")
    if by not in manifest:
        raise DataError(
            f"A split by {by} needs that column, and the manifest has {', '.join(manifest.names)}: "
            "name the patient column when indexing."
        )
    patients = manifest.column(by)
    missing = sum(patient is None for patient in patients)
    if missing:
        raise DataError(
            f"{missing} of {len(manifest)} records have no {by}, so a split could leak: fill it in, or choose "
            f"records with "
            f"manifest.having({by!r})."
        )
    names, bounds = list(shares), np.cumsum(list(shares.values()))
    bounds[-1] = 1.0
    side = {
        patient: names[int(np.searchsorted(bounds, _place(seed, patient), side="right"))] for patient in set(patients)
    }
    return manifest.with_column("split", [side[patient] for patient in patients])


def check_split(
    manifest: Manifest,
    *,
    images: bool = True,
    cache: Cache | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> list[Leak]:
    """Return the leaks between splits: same patient, same study, same image bytes; one for each shared thing and pair.

    Args:
        manifest: with a ``split`` column; records without a split belong to none.
        images: whether image files are compared (each is read once, and then remembered).
        cache: where file hashes are remembered.
        workers: processes for hashing.
        progress: of hashing.

    Raises:
        DataError: if there is no ``split`` column.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", "p"], "split": ["train", "test"]}
        >>> check_split(Manifest.of(columns, root=Path(".")))
        [Leak(kind='patient', a='a', b='b', split_a='train', split_b='test')]
    """
    if "split" not in manifest:
        raise DataError("The manifest has no column 'split': split it by patient, or name its split column.")
    ids, splits = manifest.column("id"), manifest.column("split")
    leaks: list[Leak] = []
    for kind in ("patient", "study"):
        if f"id.{kind}" in manifest:
            leaks += _leaks(kind, manifest.column(f"id.{kind}"), ids, splits)
    if images and "image" in manifest:
        paths = [manifest.path(i) if splits[i] else None for i in range(len(manifest))]
        hashes = content_hashes(paths, cache=cache or Cache.default(), workers=workers, progress=progress)
        leaks += _leaks("image", np.array([value or None for value in hashes], dtype=object), ids, splits)
    return leaks


def refuse_leaks(leaks: list[Leak]) -> None:
    """Stop a run whose split leaks.

    Raises:
        DataError: with the number of leaks a kind and the first of them.
    """
    if not leaks:
        return
    counts = {kind: sum(leak.kind == kind for leak in leaks) for kind in ("patient", "study", "image")}
    told = ", ".join(f"{count} by {kind}" for kind, count in counts.items() if count)
    first = leaks[0]
    raise DataError(
        f"The split leaks ({told}): records {first.a!r} in {first.split_a} and {first.b!r} in {first.split_b} "
        f"share the same "
        f"{first.kind}; split by patient, or remove the repeated ones (`medvlp data check` lists all)."
    )


def split_hash(manifest: Manifest) -> str:
    """Return 16 hex digits that identify who stands where."""
    splits = manifest.column("split") if "split" in manifest else [None] * len(manifest)
    return hash_of(sorted(zip(manifest.column("id").tolist(), (s or "" for s in splits), strict=True)))


def _place(seed: int, patient: str) -> float:
    digest = hashlib.sha256(f"{seed}\x1f{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _leaks(kind: str, things: np.ndarray, ids: np.ndarray, splits: np.ndarray) -> list[Leak]:
    first: dict[object, dict[str, int]] = defaultdict(dict)
    for index, (thing, split) in enumerate(zip(things, splits, strict=True)):
        if thing is not None and split is not None:
            first[thing].setdefault(split, index)
    found = []
    for sides in first.values():
        places = sorted(sides.values())
        for later in range(1, len(places)):
            a, b = places[0], places[later]
            found.append(Leak(kind, str(ids[a]), str(ids[b]), str(splits[a]), str(splits[b])))
    return found

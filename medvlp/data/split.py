"""Splits by patient (that none leaks is checked by `medvlp.data.leakage`).

The side of a patient is a function of the seed and the patient alone, so that adding patients moves nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.provenance import hash_of
from medvlp.data.manifest import Manifest

__all__ = ["DEFAULT_FRACTIONS", "split_by_patient", "split_hash"]

DEFAULT_FRACTIONS: dict[str, float] = {"train": 0.7, "validate": 0.1, "test": 0.2}


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


def split_hash(manifest: Manifest) -> str:
    """Return 16 hex digits that identify who stands where."""
    splits = manifest.column("split") if "split" in manifest else [None] * len(manifest)
    return hash_of(sorted(zip(manifest.column("id").tolist(), (s or "" for s in splits), strict=True)))


def _place(seed: int, patient: str) -> float:
    digest = hashlib.sha256(f"{seed}\x1f{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64

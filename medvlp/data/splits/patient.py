"""``patient``: each patient on one side, at a place that is a function of the seed and the patient alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from medvlp.core.registry import FromModel
from medvlp.data.manifest import Manifest
from medvlp.data.splits._groups import checked_fractions, cut, grouped
from medvlp.data.splits._split import Split, of_rows

__all__ = ["by_patient", "split_by_patient"]


def by_patient(
    manifest: Annotated[Manifest, FromModel("manifest")],
    *,
    fractions: dict[str, float] | None = None,
    seed: int = 0,
    by: str = "id.patient",
) -> Split:
    """Split so that each patient stands on one side.

    A patient's place is u = SHA-256(seed, patient) / 2^256, cut at the cumulated fractions; fractions are therefore met
    on average over patients, not exactly, and adding or removing patients moves nobody.

    Args:
        manifest: with the column `by`, no value missing.
        fractions: part -> share, summing to 1; default `DEFAULT_FRACTIONS`.
        seed: another seed, another split.
        by: column whose equal values stay together.

    Raises:
        ConfigError: if the fractions do not sum to 1.
        DataError: if the column is missing, or some records have no patient.

    Example:
        >>> from pathlib import Path
        >>> m = Manifest.of({"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", "p"]}, root=Path("."))
        >>> sorted(map(len, by_patient(m).parts.values()))
        [0, 0, 2]
    """
    shares = checked_fractions(fractions)
    groups = grouped(manifest, by=by, seed=seed)
    sides = cut(groups.places, shares)[groups.code]
    options = {"fractions": shares, "seed": seed, "by": by}
    return of_rows(manifest, sides, name="patient", unit="patient", options=options, parts=list(shares))


def split_by_patient(
    manifest: Manifest, *, seed: int = 0, fractions: Mapping[str, float] | None = None, by: str = "id.patient"
) -> Manifest:
    """Return the manifest with the column ``split`` of `by_patient`.

    Raises:
        ConfigError: if the fractions do not sum to 1.
        DataError: if the column is missing, or some records have no patient.

    Example:
        >>> from pathlib import Path
        >>> m = Manifest.of({"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", "p"]}, root=Path("."))
        >>> len(set(split_by_patient(m).column("split")))
        1
    """
    return by_patient(manifest, seed=seed, fractions=None if fractions is None else dict(fractions), by=by).apply(
        manifest
    )

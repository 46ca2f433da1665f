"""``patient``: each patient on one side, at a place that is a function of the seed and the patient alone."""

from __future__ import annotations

from collections.abc import Mapping

from medvlp.data.manifest import Manifest
from medvlp.data.splits._groups import Cohort, Fractions, checked_fractions, grouped, parted
from medvlp.data.splits._split import Split, of_rows


def by_patient(manifest: Cohort, *, fractions: Fractions = None, seed: int = 0, by: str = "id.patient") -> Split:
    """Split so that each patient stands on one side.

    A patient's place is u = SHA-256(seed, patient) / 2^256, cut at the cumulated fractions; fractions are therefore met
    on average over patients, not exactly, and adding or removing patients moves nobody. Fewer than 300 patients are
    cut by the rank of their places: the parts then have the sizes asked for, and adding patients may move others.

    Args:
        manifest: with the column `by`, no value missing.
        fractions: part -> share, summing to 1; default train .7, validate .1, test .2.
        seed: another seed, another split.
        by: column whose equal values stay together.

    Raises:
        ConfigError: if the fractions do not sum to 1.
        DataError: if the column is missing, some records have no patient, or nobody is left for a part.

    Example:
        >>> from pathlib import Path
        >>> m = Manifest.of({"id": list("abc"), "text": ["x"] * 3, "id.patient": ["p", "p", "q"]}, root=Path("."))
        >>> sorted(map(len, by_patient(m, fractions={"train": 0.5, "test": 0.5}).parts.values()))
        [1, 2]
    """
    return by_group(manifest, fractions=fractions, seed=seed, by=by, unit="patient")


def by_group(manifest: Manifest, *, fractions: Mapping[str, float] | None, seed: int, by: str, unit: str) -> Split:
    """Split so that equal values of a column stand on one side; the rule has the unit's name."""
    shares = checked_fractions(fractions)
    groups = grouped(manifest, by=by, seed=seed)
    sides = parted(groups.places, shares, by=by)[groups.code]
    options = {"fractions": shares, "seed": seed, "by": by}
    return of_rows(manifest, sides, name=unit, unit=unit, options=options, parts=list(shares))

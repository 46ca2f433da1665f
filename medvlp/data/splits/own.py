"""``own``: the parts that the manifest already names; where it names none, patients are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from medvlp.data.manifest import Manifest
from medvlp.data.splits._groups import Cohort, Fractions
from medvlp.data.splits._split import Split, of_rows
from medvlp.data.splits.patient import by_patient


def own(manifest: Cohort, *, fractions: Fractions = None, seed: int = 0) -> Split:
    """Take the column ``split`` as it is; without one, split by patient.

    Args:
        fractions: part -> share, summing to 1, used where there is no column; default train .7, validate .1, test .2.
        seed: likewise.

    Raises:
        ConfigError: if the fractions do not sum to 1.
        DataError: if there is neither the column nor known patients.

    Example:
        >>> from pathlib import Path
        >>> own(Manifest.of({"id": ["a"], "text": ["x"], "split": ["test"]}, root=Path("."))).parts
        {'test': ('a',)}
    """
    if "split" not in manifest:
        return by_patient(manifest, fractions=fractions, seed=seed)
    return of_column(manifest, name="own")


def of_column(manifest: Manifest, *, name: str) -> Split:
    """The parts of the column ``split``, with what the manifest says of how they were made."""
    split = of_sides(manifest, manifest.column("split"), name=name, unit="", options={})
    made: Any = manifest.meta.get("split")
    if not isinstance(made, dict):
        return split
    facts: dict[str, Any] = {"options": dict(made.get("options", {}))}
    facts |= {key: str(made[key]) for key in ("name", "rule", "unit", "card", "flaw", "source") if key in made}
    return replace(split, **facts)


def of_sides(manifest: Manifest, sides: np.ndarray, *, name: str, unit: str, options: dict[str, object]) -> Split:
    """The split of a part per row, None where the column ``split`` is blank; the usual parts come first."""
    order = [part for part in ("train", "validate", "test") if (sides == part).any()]
    unlisted = {"the column split is blank": sides == None}  # noqa: E711 (an array of objects)
    return of_rows(manifest, sides, name=name, unit=unit, options=options, parts=order, left_out=unlisted)

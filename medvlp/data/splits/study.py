"""``study``: each study on one side; patients may stand on several."""

from __future__ import annotations

from dataclasses import replace

from medvlp.data.splits._groups import Cohort, Fractions
from medvlp.data.splits._split import Split
from medvlp.data.splits.patient import by_group


def by_study(manifest: Cohort, *, fractions: Fractions = None, seed: int = 0, by: str = "id.study") -> Split:
    """Split so that each study stands on one side, as `by_patient` does with patients.

    For data sets without patients, and to rebuild what others did: where patients are known, several studies of one are
    spread over the parts, which is a leak. It is counted in the split's notes and refused by the leak check.

    Args:
        fractions: part -> share, summing to 1; default train .7, validate .1, test .2.
        seed: another seed, another split.
        by: column whose equal values stay together; no value may be missing.

    Raises:
        ConfigError: if the fractions do not sum to 1.
        DataError: if the column is missing, some records have no study, or no study is left for a part.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> m = Manifest.of({"id": list("abc"), "text": ["x"] * 3, "id.study": ["s", "s", "t"]}, root=Path("."))
        >>> sorted(map(len, by_study(m, fractions={"train": 0.5, "test": 0.5}).parts.values()))
        [1, 2]
    """
    split = by_group(manifest, fractions=fractions, seed=seed, by=by, unit="study")
    if "id.patient" not in manifest:
        return split
    part_of = {record: part for part, ids in split.parts.items() for record in ids}
    sides: dict[str, set[str]] = {}
    for who, record in zip(manifest.column("id.patient"), manifest.column("id"), strict=True):
        if who is not None:
            sides.setdefault(who, set()).add(part_of[record])
    spread = sum(len(parts) > 1 for parts in sides.values())
    note = f"Patients with studies in several parts: {spread}; the split leaks, take the rule patient."
    return replace(split, notes=(note,)) if spread else split

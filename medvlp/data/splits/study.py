"""``study``: each study on one side; patients may stand on several."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from medvlp.core.registry import FromModel
from medvlp.data.manifest import Manifest
from medvlp.data.splits._groups import checked_fractions, grouped, parted
from medvlp.data.splits._split import Split, of_rows

__all__ = ["by_study"]


def by_study(
    manifest: Annotated[Manifest, FromModel("manifest")],
    *,
    fractions: dict[str, float] | None = None,
    seed: int = 0,
    by: str = "id.study",
) -> Split:
    """Split so that each study stands on one side, as `by_patient` does with patients.

    For data sets without patients, and to rebuild what others did: where patients are known, several studies of one are
    spread over the parts, which is a leak. It is counted in the split's notes and refused by the leak check.

    Args:
        manifest: with the column `by`, no value missing.
        fractions: part -> share, summing to 1; default `DEFAULT_FRACTIONS`.
        seed: another seed, another split.
        by: column whose equal values stay together.

    Raises:
        ConfigError: if the fractions do not sum to 1.
        DataError: if the column is missing, some records have no study, or no study is left for a part.

    Example:
        >>> from pathlib import Path
        >>> m = Manifest.of({"id": list("abc"), "text": ["x"] * 3, "id.study": ["s", "s", "t"]}, root=Path("."))
        >>> sorted(map(len, by_study(m, fractions={"train": 0.5, "test": 0.5}).parts.values()))
        [1, 2]
    """
    shares = checked_fractions(fractions)
    groups = grouped(manifest, by=by, seed=seed)
    sides = parted(groups.places, shares, by=by)[groups.code]
    notes = []
    if "id.patient" in manifest:
        pairs = {(who, side) for who, side in zip(manifest.column("id.patient"), sides, strict=True) if who is not None}
        _, counts = np.unique([who for who, _ in sorted(pairs)], return_counts=True)
        spread = int((counts > 1).sum())
        if spread:
            notes.append(f"{spread} patients have studies in several parts: the split leaks, take the rule patient.")
    options = {"fractions": shares, "seed": seed, "by": by}
    return of_rows(manifest, sides, name="study", unit="study", options=options, parts=list(shares), notes=notes)

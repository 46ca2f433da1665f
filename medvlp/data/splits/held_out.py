"""``held_out``: a release with two parts gets a third: some of its training patients choose, and none of the test's."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from medvlp.core.errors import DataError
from medvlp.data.splits._groups import Cohort, grouped, parted
from medvlp.data.splits._split import Split
from medvlp.data.splits.own import of_column, of_sides


def held_out(
    manifest: Cohort, *, share: Annotated[float, Field(gt=0, lt=1)] = 0.25, seed: int = 0, by: str = "id.patient"
) -> Split:
    """Move a share of the patients of ``train`` to ``validate``; who stands in another part stays there.

    A patient's place is that of the rule ``patient``, and so is the way in which few patients are cut.

    Args:
        manifest: with the columns ``split`` and `by`, no patient missing.
        share: of the training patients.
        seed: another seed, another choice.
        by: column whose equal values stay together.

    Raises:
        DataError: if a column or the part ``train`` is missing, some records have no patient, there is a part
            ``validate`` already, or nobody is left for one of the two.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> columns = {"id": list("abcd"), "text": ["x"] * 4, "id.patient": list("ppqr")}
        >>> cohort = Manifest.of({**columns, "split": ["train"] * 3 + ["test"]}, root=Path("."))
        >>> split = held_out(cohort, share=0.5)
        >>> sorted(map(len, split.parts.values())), split.parts["test"]
        ([1, 1, 2], ('d',))
    """
    if "split" not in manifest:
        raise DataError(
            "held_out takes patients from the part train, and the manifest has no column 'split': use patient."
        )
    sides, there = manifest.column("split").copy(), of_column(manifest, name="held_out")
    if "train" not in there.parts or "validate" in there.parts:
        has = f"{', '.join(there.parts)}: use own" if there.parts else "a blank column 'split': use patient"
        raise DataError(f"held_out makes a part validate of the part train, and the manifest has {has}.")
    groups = grouped(manifest, by=by, seed=seed)
    train = sides == "train"
    inside, code = np.unique(groups.code[train], return_inverse=True)
    sides[train] = parted(groups.places[inside], {"train": 1 - share, "validate": share}, by=by)[code]
    options: dict[str, object] = {"share": share, "seed": seed, "by": by}
    made = of_sides(manifest, sides, name="held_out", unit="patient", options=options)
    return replace(made, card=there.card, flaw=there.flaw, source=there.source)

"""``stratified``: by patient, with each label in each part in the same proportion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from medvlp.core.errors import DataError
from medvlp.core.registry import FromModel
from medvlp.data.manifest import Manifest
from medvlp.data.splits._groups import Grouped, checked_fractions, grouped, label_columns
from medvlp.data.splits._iterative import iterative_stratification, label_pairs
from medvlp.data.splits._split import Split, of_rows

__all__ = ["stratified", "stratified_parts"]


def stratified(
    manifest: Annotated[Manifest, FromModel("manifest")],
    *,
    labels: tuple[str, ...] = (),
    fractions: dict[str, float] | None = None,
    seed: int = 0,
    pairs: bool = False,
    by: str = "id.patient",
) -> Split:
    """Split by patient so that each part has its share of every label's positives, and of its uncertain ones.

    By iterative stratification over groups, see `medvlp.data.splits._iterative`. The place of a patient depends on all
    others, so adding patients may move anybody: store the lists, and use those.

    Args:
        manifest: with label columns and the column `by`, no patient missing.
        labels: findings that are stratified; where none is named, all that enough patients have.
        fractions: part -> share, summing to 1; default `DEFAULT_FRACTIONS`.
        seed: of ties, and of the order in which like patients are taken.
        pairs: also stratify what occurs together, before single labels, which are then met a little less well.
        by: column whose equal values stay together.

    Raises:
        ConfigError: if the fractions do not sum to 1.
        DataError: if a column is missing, some records have no patient, or fewer patients than there are parts have a
            label that was named.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": list("abcd"), "text": ["x"] * 4, "id.patient": list("pqrs"), "label.edema": [1, 1, 0, 0]}
        >>> cohort = Manifest.of(columns, root=Path("."))
        >>> {part: len(ids) for part, ids in stratified(cohort, fractions={"train": 0.5, "test": 0.5}).parts.items()}
        {'train': 2, 'test': 2}
    """
    shares = checked_fractions(fractions)
    groups = grouped(manifest, by=by, seed=seed)
    part, used, notes = stratified_parts(
        manifest, groups, np.array(list(shares.values())), labels=labels, pairs=pairs, seed=seed
    )
    sides = np.array(list(shares), dtype=object)[part][groups.code]
    options = {"labels": list(used), "fractions": shares, "seed": seed, "pairs": pairs, "by": by}
    return of_rows(manifest, sides, name="stratified", unit="patient", options=options, parts=list(shares), notes=notes)


def stratified_parts(
    manifest: Manifest, groups: Grouped, shares: np.ndarray, *, labels: Sequence[str], pairs: bool, seed: int
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return the part of each group, the findings that were stratified, and sentences about those that were not."""
    parts = int((shares > 0).sum())
    columns, notes = label_columns(manifest, labels), []
    having = {name: int((groups.count(manifest.column(name) == 1) > 0).sum()) for name in columns}
    few = [name for name in columns if having[name] < parts]
    if few and labels:
        told = ", ".join(f"{name.removeprefix('label.')} ({having[name]})" for name in few)
        raise DataError(
            f"Too few groups of {groups.by} are positive to stratify into {parts} parts: {told}; leave these out of "
            "labels, or choose fewer parts."
        )
    if few:
        told = ", ".join(f"{name.removeprefix('label.')} {having[name]}" for name in few)
        notes.append(f"Not stratified, because fewer groups than parts are positive: {told}.")
        columns = [name for name in columns if name not in few]
    if not columns:
        raise DataError(f"No label has a positive in {parts} groups of {groups.by}: take the rule patient instead.")
    values = np.stack([manifest.column(name) for name in columns], axis=1)
    positive = values == 1
    uncertain = (values == -1)[:, (values == -1).any(0)]
    # A pair so rare that the smallest part is not owed one of it would go to the largest, again and again.
    least = 1 / shares[shares > 0].min()
    together = label_pairs(positive, least=least) if pairs else np.zeros((len(values), 0), dtype=bool)
    strata = np.concatenate([together, positive, uncertain], axis=1)
    counts = np.stack([groups.count(strata[:, k]) for k in range(strata.shape[1])], axis=1)
    width = together.shape[1]
    stages = (np.arange(width), np.arange(width, strata.shape[1]))
    part = iterative_stratification(counts, groups.sizes, shares, stages=stages, seed=seed)
    return part, tuple(name.removeprefix("label.") for name in columns), tuple(notes)

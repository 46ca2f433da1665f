"""Smaller training sets, each inside the next larger one: 1 %, 10 %, 100 %, or n patients of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.data.manifest import Manifest
from medvlp.data.splits._groups import Grouped, grouped, label_columns


def subset(
    manifest: Manifest,
    *,
    share: float | None = None,
    per_class: int | None = None,
    labels: Sequence[str] = (),
    part: str = "train",
    seed: int = 0,
    by: str = "id.patient",
) -> Manifest:
    """Return the manifest with fewer records in one part; those taken out stand in no part, all others stay.

    Patients stand in the order of SHA-256(seed, patient); a share takes the first of them, rounded, at least one. So
    the 1 % of a seed lies in its 10 %. With `per_class` the first n patients with a positive of each label are taken,
    and the first n with a record that denies it and none that does not: few shots, nested likewise; a patient counts
    for each class that he belongs to, so there may be fewer patients than n times the classes. Adding patients leaves
    the order as it is, but the newcomers take their places in it.

    Args:
        manifest: with the columns ``split`` and `by`.
        share: of the part's patients, in (0, 1].
        per_class: instead, patients of each class.
        labels: findings for `per_class`; all where none is named.
        part: that becomes smaller.
        seed: another seed, another choice.
        by: column whose equal values stay together.

    Raises:
        ConfigError: if not exactly one of `share` and `per_class` is given, or it is out of range.
        DataError: if there is no such part, a column is missing, or a class has too few patients.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": list("abcd"), "text": ["x"] * 4, "id.patient": list("pqrs"), "split": ["train"] * 4}
        >>> subset(Manifest.of(columns, root=Path(".")), share=0.5).column("split").tolist().count("train")
        2
    """
    if (share is None) == (per_class is None):
        raise ConfigError("A subset is given by share or per_class: name exactly one of them.")
    if share is not None and not 0 < share <= 1:
        raise ConfigError(f"The share of a subset is {share}: give a fraction above 0, up to 1.")
    if per_class is not None and per_class < 1:
        raise ConfigError(f"per_class of a subset is {per_class}: give 1 or more.")
    if "split" not in manifest:
        raise DataError("A subset is taken from a part, and the manifest has no column 'split': split it first.")
    rows = np.flatnonzero(manifest.column("split") == part)
    if not len(rows):
        parts = sorted({str(side) for side in manifest.column("split") if side is not None})
        raise DataError(f"No record is in the part {part!r} that a subset is taken from: {did_you_mean(part, parts)}.")
    inside = manifest.take(rows)
    groups = grouped(inside, by=by, seed=seed)
    if share is not None:
        chosen = np.arange(max(1, round(share * len(groups))))
    else:
        chosen = _of_each_class(inside, groups, n=int(per_class or 0), labels=labels)
    left_out = rows[~np.isin(groups.code, chosen)]
    sides = manifest.column("split").copy()
    sides[left_out] = None
    smaller = manifest.with_column("split", sides)
    smaller.meta["subset"] = {
        "share": share,
        "per_class": per_class,
        "labels": list(labels),
        "part": part,
        "seed": seed,
        "by": by,
        "groups": len(chosen),
        "of": len(groups),
        "taken_out": len(left_out),
    }
    return smaller


def _of_each_class(inside: Manifest, groups: Grouped, *, n: int, labels: Sequence[str]) -> np.ndarray:
    """The first n groups of each class, by label and class; a label that is never denied has one class."""
    chosen: set[int] = set()
    few: list[str] = []
    for name in label_columns(inside, labels):
        values = inside.column(name)
        positive, denied, open_ = (groups.count(values == value) > 0 for value in (1, 0, -1))
        for word, having in (("present", positive), ("absent", denied & ~positive & ~open_)):
            found = np.flatnonzero(having)
            if len(found) < n and not (word == "absent" and not denied.any()):
                few.append(f"{name.removeprefix('label.')} {word} {len(found)}")
            chosen.update(found[:n].tolist())
    if few:
        raise DataError(
            f"Fewer than {n} groups of {groups.by} belong to some classes: {', '.join(few)}; name other labels, or "
            "take fewer of each class."
        )
    return np.array(sorted(chosen), dtype=np.int64)

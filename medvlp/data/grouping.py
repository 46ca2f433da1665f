"""Rows that are one study: one reconstruction of a scan is kept, or its pictures become one stack, or pairs.

Two reconstructions of a scan are the same body at the same moment with the same report. As two samples of an epoch they
count twice, and as each other's negatives they teach what is false.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from medvlp.core.errors import DataError
from medvlp.data.manifest import Manifest

_OF_IMAGES = ("image", "boxes", "mask")


def keep_one(
    manifest: Manifest, *, by: str = "id.study", prefer: Sequence[str] = (), column: str = "kernel"
) -> Manifest:
    """Keep one row of those that have the same value; the others are listed in ``meta["skipped"]``.

    Args:
        manifest: the cohort.
        by: what rows have in common: ``id.study``; a row without it stands by itself.
        prefer: values of `column`, best first, upper and lower case alike. The row with the best is kept; without a
            preference, or where no row has such a value, the first with a file.
        column: attribute that tells reconstructions apart, such as ``kernel`` or ``reconstruction``.

    Raises:
        DataError: if there is no such column.

    Example:
        >>> from pathlib import Path
        >>> scans = {"id": ["a1", "a2", "b"], "volume": ["1.nii", "2.nii", "3.nii"], "id.study": ["a", "a", "b"]}
        >>> m = Manifest.of({**scans, "kernel": ["B60f", "B30f", "B60f"]}, root=Path("."))
        >>> keep_one(m, prefer=["b30f"]).column("id").tolist()
        ['a2', 'b']
    """
    kernels = [str(value).casefold() for value in manifest.column(column)] if prefer else [""] * len(manifest)
    order = {value.casefold(): rank for rank, value in enumerate(prefer)}
    there = _has_file(manifest)
    best = [
        min(rows, key=lambda row: (not there[row], order.get(kernels[row], len(order)), row))
        for rows in rows_of_each(manifest, by)
    ]
    chosen, ids = manifest.take(np.sort(best)), manifest.column("id")
    others = [str(ids[row]) for row in sorted(set(range(len(manifest))) - set(best))]
    if others:
        skipped = manifest.meta.get("skipped")
        old = skipped if isinstance(skipped, dict) else {}
        reason = "other_reconstruction"
        chosen.meta["skipped"] = {**old, reason: [*old.get(reason, []), *others]}
    return chosen


def stack_images(manifest: Manifest, *, by: str = "id.study") -> Manifest:
    """Make one row of those that have the same value; its ``stack`` are their images, in the order of the rows.

    The row has the id of the first. A finding is present if one of the rows says so, else uncertain, else absent.
    Different texts are joined, and any other value is kept where all rows agree. Boxes and masks, which belong to one
    picture, are left out.

    Args:
        manifest: the cohort, with a column ``image``.
        by: what rows have in common; a row without it stands by itself.

    Raises:
        DataError: if there is no such column, no image, or a study lies in two splits.

    Example:
        >>> from pathlib import Path
        >>> views = {"id": ["f", "l"], "image": ["f.png", "l.png"], "id.study": ["s", "s"], "text": ["Clear."] * 2}
        >>> stack_images(Manifest.of(views, root=Path("."))).record(0)["stack"]
        ['f.png', 'l.png']
    """
    images = manifest.arrow("image").to_pylist()
    groups = rows_of_each(manifest, by)
    if "split" in manifest:
        splits = manifest.column("split")
        torn = [rows for rows in groups if len({splits[row] for row in rows}) > 1]
        if torn:
            raise DataError(
                f"Groups by {by} in several splits: {len(torn)} (one with {manifest.column('id')[torn[0][0]]!r}): "
                "split by patient first."
            )
    stacks = [[images[row] for row in rows if images[row] is not None] or None for rows in groups]
    columns: dict[str, pa.Array] = {"stack": pa.array(stacks, pa.list_(pa.string()))}
    for name in manifest.names:
        if name.partition(".")[0] in _OF_IMAGES or name == "stack":
            continue
        array = manifest.arrow(name)
        values = array.to_pylist()
        columns[name] = pa.array([_one(name, [values[row] for row in rows]) for rows in groups], array.type)
    return Manifest(pa.table(columns), root=manifest.root, meta=manifest.meta)


def pair_images(manifest: Manifest, *, by: str = "id.study") -> Manifest:
    """Give each row ``image.other``: the next image of those that have the same value, in the order of the rows.

    The last one's is the first; an image that has no other is its own, which random views make another picture.

    Args:
        manifest: the cohort, with a column ``image``.
        by: what rows have in common; a row without it stands by itself.

    Raises:
        DataError: if there is no such column, or no image.

    Example:
        >>> from pathlib import Path
        >>> views = {"id": ["f", "g", "l"], "image": ["f.png", "g.png", "l.png"], "id.study": ["s", "t", "s"]}
        >>> pair_images(Manifest.of(views, root=Path("."))).column("image.other").tolist()
        ['l.png', 'g.png', 'f.png']
    """
    images = manifest.arrow("image").to_pylist()
    others: list[str | None] = list(images)
    for rows in rows_of_each(manifest, by):
        there = [row for row in rows if images[row] is not None]
        for row, other in zip(there, there[1:] + there[:1], strict=True):
            others[row] = images[other]
    return manifest.with_column("image.other", others)


def rows_of_each(manifest: Manifest, by: str) -> list[list[int]]:
    """Return the rows of each value of a column in their order; a row without one stands by itself.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": list("abc"), "text": list("xyz"), "id.patient": ["p", None, "p"]}
        >>> rows_of_each(Manifest.of(columns, root=Path(".")), "id.patient")
        [[0, 2], [1]]
    """
    found: dict[object, list[int]] = {}
    for row, value in enumerate(manifest.column(by)):
        found.setdefault(("row", row) if value is None or value != value else value, []).append(row)
    known = by == "id.study" and "id.patient" in manifest and "patients_by" not in manifest.meta
    people = manifest.column("id.patient") if known else [None] * len(manifest)
    mixed = [rows for rows in found.values() if len({people[row] for row in rows} - {None}) > 1]
    if mixed:
        raise DataError(
            f"Studies of several patients: {len(mixed)} (one with {manifest.column('id')[mixed[0][0]]!r}); index "
            'them under names of their own, as the layout csv makes them of study_id: "{patient}/{study}".'
        )
    return list(found.values())


def _has_file(manifest: Manifest) -> np.ndarray:
    names = [name for name in ("volume", "stack", "image") if name in manifest]
    if not names:
        return np.ones(len(manifest), bool)
    return np.any([manifest.arrow(name).is_valid().to_numpy(zero_copy_only=False) for name in names], axis=0)


def _one(name: str, values: list[object]) -> object:
    known = [value for value in values if value is not None]
    if name == "id":
        return values[0]
    if name.startswith("label"):
        return next((value for value in (1.0, -1.0, 0.0) if value in known), None)
    if name.startswith("text"):
        return "\n\n".join(dict.fromkeys(map(str, known))) or None
    return known[0] if known and all(value == known[0] for value in known[1:]) else None


def with_patients(manifest: Manifest, column: str) -> Manifest:
    """Let equal values of a column be one patient (``id.patient``), and note that it was done.

    Example:
        >>> from pathlib import Path
        >>> made = with_patients(Manifest.of({"id": ["a", "b"], "text": ["x", "y"]}, root=Path(".")), "id")
        >>> made.column("id.patient").tolist(), patient_caveats(made)
        (['a', 'b'], ('Patients are not known: each id counts as one, so intervals may be too narrow.',))
    """
    values = manifest.arrow(column)
    if values.null_count:
        raise DataError(f"Patients by {column}: {values.null_count} of {len(values)} rows have none: choose id.")
    made = manifest.with_column("id.patient", [str(value) for value in values.to_pylist()])
    made.meta = {**made.meta, "patients_by": column}
    return made


def patient_caveats(manifest: Manifest) -> tuple[str, ...]:
    """Return what a reader of results has to know of the patients; nothing where the release names them."""
    column: Any = manifest.meta.get("patients_by")
    if column is None:
        return ()
    return (f"Patients are not known: each {column} counts as one, so intervals may be too narrow.",)

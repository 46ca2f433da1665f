"""Slices of the synthetic CT volumes as rows of their own: what a 2D model of slices and captions learns from.

A radiologist's report speaks of a volume. Which slice shows what, only the planted masks know; so these captions are a
privilege of the phantom, in the place of the slice collections that published 2D models are trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.core.errors import DataError
from medvlp.io.errors import UnreadableImage
from medvlp.io.volume_slices import open_slices

_NORMAL = "Nothing abnormal on this slice."


def slice_rows(
    row: Mapping[str, object],
    *,
    mask: Path,
    findings: Sequence[Mapping[str, Any]],
    statements: Iterable[Mapping[str, Any]],
    count: int,
) -> Iterator[dict[str, object]]:
    """Yield the rows of a volume's chosen slices, most `count`; labels and text are those of the slice.

    Args:
        mask: file of planted findings, each voxel the place in `findings` + 1.
        findings: rows of truth of the study.
        statements: triplets of the study, in the order of the report.
    """
    stated = list(statements)
    for number, shown in shown_slices(mask, [str(finding["name"]) for finding in findings], count).items():
        labels = {
            name: int(name.removeprefix("label.") in shown) if value else value
            for name, value in row.items()
            if name.startswith("label.")
        }
        own = {"id": f"{row['id']}-{number:03d}", "text": caption(stated, shown), "number.slice": float(number)}
        yield {**row, **labels, **own}


def shown_slices(mask: Path, names: Sequence[str], count: int) -> dict[int, frozenset[str]]:
    """Choose slices, each with what it shows: for each finding the one that shows most of it, then others evenly."""
    try:
        slices = open_slices(mask)
        values = slices.read(range(len(slices)))
    except UnreadableImage as error:
        raise DataError(f"{mask} cannot be read ({error.reason}): make the cohort again.") from None
    area = np.stack([(values == place + 1).sum((1, 2)) for place in range(len(names))]) if names else None
    best = [] if area is None else [int(each.argmax()) for each in area if each.any()]
    depth = len(slices)
    even = [int((part + 0.5) * depth / count) for part in range(count)]
    chosen = sorted(list(dict.fromkeys([*best, *even]))[: min(count, depth)])
    return {
        number: frozenset(name for place, name in enumerate(names) if area is not None and area[place, number])
        for number in chosen
    }


def caption(statements: Iterable[Mapping[str, Any]], shown: frozenset[str]) -> str:
    """Return what a report says that holds of a slice: all that is absent, and what is present if the slice shows it.

    Example:
        >>> statements = [("Right nodule.", "nodule", "present"), ("No effusion.", "effusion", "absent")]
        >>> rows = [dict(zip(("sentence", "observation", "presence"), row)) for row in statements]
        >>> caption(rows, frozenset({"nodule"})), caption(rows, frozenset())
        ('Right nodule. No effusion.', 'No effusion.')
    """
    holds: dict[str, bool] = {}
    for row in statements:
        sentence = str(row["sentence"])
        true = row["presence"] == "absent" or row["observation"] in shown
        holds[sentence] = holds.get(sentence, True) and true
    return " ".join(sentence for sentence, true in holds.items() if true) or _NORMAL

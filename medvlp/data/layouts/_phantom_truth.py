"""The planted truth of a synthetic hospital as columns, as any layout writes what it knows, and slices as rows.

A radiologist's report speaks of a volume. Which slice shows what, only the planted masks know; so these captions are a
privilege of the phantom, in the place of the slice collections that published 2D models are trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.core.errors import DataError
from medvlp.core.grouped import grouped
from medvlp.data.mask_files import runs_of
from medvlp.io.errors import UnreadableImage
from medvlp.io.member import size_and_time
from medvlp.io.volume_read import read_volume
from medvlp.io.volume_slices import open_slices

Row = Mapping[str, Any]
_NORMAL = "Nothing abnormal on this slice."
_SEVERITIES = ("mild", "moderate", "severe")


class PlantedTruth:
    """What was planted, by study and picture.

    Args:
        findings: its rows of that name.
        boxes: its rows of that name: the projections on radiographs.
        triplets: its rows of that name: what the reports state.
    """

    def __init__(self, root: Path, findings: Sequence[Row], boxes: Sequence[Row], triplets: Sequence[Row]) -> None:
        self._root = root
        self._findings = grouped((row["accession"], row) for row in findings)
        self._boxes = grouped((row["path"], row) for row in boxes)
        self._sentences: dict[tuple[str, str], str] = {}
        for row in triplets:
            if row["presence"] != "absent":
                self._sentences.setdefault((row["accession"], row["observation"]), row["sentence"])

    def columns(self, picture: Row, labels: Mapping[str, object]) -> dict[str, object]:
        """Return the columns of one row; a finding that its label denies has none.

        Args:
            labels: ``label.FINDING`` -> 1 or 0 of the row.
        """
        present = {name.partition(".")[2]: value == 1 for name, value in labels.items()}
        findings = self._findings.get(picture["accession"], [])
        places = self._volume(picture, findings) if picture["view"] == "CT" else self._radiograph(picture)
        columns: dict[str, object] = {}
        for name, there in present.items():
            planted = [row for row in findings if row["name"] == name] if there else []
            boxes, mask = places.get(name, (None, None)) if there else (None, None)
            severities = (row["severity"] for row in planted if row["severity"])
            columns |= {
                f"side.{name}": _side({row["side"] for row in planted}),
                f"lobe.{name}": ", ".join(dict.fromkeys(row["lobe"] for row in planted if row["lobe"])) or None,
                f"severity.{name}": max(severities, key=_SEVERITIES.index, default=None),
                f"size.{name}": max((row["size_mm"] for row in planted), default=0.0) or None,
                f"sentence.{name}": self._sentences.get((picture["accession"], name)) if there else None,
                f"boxes.{name}": boxes,
                f"mask.{name}": mask,
            }
        return columns

    def _radiograph(self, picture: Row) -> dict[str, tuple[list[list[float]], list[int]]]:
        """Boxes and the union of the masks of each finding; those of the truth run along the rows."""
        shape = (picture["rows"], picture["columns"])
        found: dict[str, tuple[list[list[float]], np.ndarray]] = {}
        for row in self._boxes.get(picture["path"], []):
            boxes, mask = found.setdefault(row["name"], ([], np.zeros(shape, bool)))
            boxes.append([row["x0"], row["y0"], row["x1"], row["y1"]])
            mask |= np.repeat(np.arange(len(row["mask"])) % 2 == 1, row["mask"]).reshape(shape)
        return {name: (boxes, runs_of(mask)) for name, (boxes, mask) in found.items()}

    def _volume(self, picture: Row, findings: Sequence[Row]) -> dict[str, tuple[list[list[float]], str]]:
        """Boxes and the file of the masks: a finding's voxels that no smaller one covers."""
        name = (Path("truth") / "ct_masks" / Path(picture["path"]).relative_to("ct")).as_posix()
        file = self._root / name
        places = _places(file, size_and_time(file) if file.exists() else None)
        values = grouped((row["name"], value) for value, row in enumerate(findings, 1) if value in places)
        return {
            finding: ([places[value] for value in some], f"{name}#{','.join(map(str, some))}")
            for finding, some in values.items()
        }


@lru_cache(maxsize=1)  # the slices of a volume are neighbouring rows
def _places(path: Path, stamp: tuple[int, int] | None) -> dict[int, list[float]]:
    """Value in a file of masks -> the box around it, x0, y0, z0, x1, y1, z1 in voxels; kept by size and time too."""
    from scipy.ndimage import find_objects

    try:
        voxels = read_volume(path).voxels.astype(np.int64)
    except UnreadableImage as error:
        raise DataError(f"{path} cannot be read ({error.reason}): make the cohort again.") from None
    return {
        value + 1: [*(float(side.start) for side in reversed(box)), *(float(side.stop) for side in reversed(box))]
        for value, box in enumerate(find_objects(voxels))
        if box is not None
    }


def _side(sides: set[str]) -> str | None:
    if "bilateral" in sides or {"left", "right"} <= sides:
        return "both"
    return next((side for side in ("left", "right") if side in sides), None)


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

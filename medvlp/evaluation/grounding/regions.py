"""Where findings are: boxes and masks of a manifest, or what was planted in a synthetic hospital."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from medvlp.data.manifest import Manifest
from medvlp.evaluation.grounding.case import Box
from medvlp.io.read import read_image

__all__ = ["Region", "Regions"]


@dataclass(frozen=True, eq=False)
class Region:
    """A finding's place in a file, in its pixels; neither boxes nor mask: it was looked for and is not there.

    Attributes:
        boxes: x0, y0, x1, y1.
        runs: run lengths of masks, 0 and 1 in turn; the place is their union.
        shape: (height, width) that the runs fill; None: that of the file.
        down: runs go down the columns, else along the rows.
        mask_file: path of a mask's file.
    """

    boxes: tuple[Box, ...] = ()
    runs: tuple[tuple[int, ...], ...] = ()
    shape: tuple[int, int] | None = None
    down: bool = True
    mask_file: str | None = None

    @property
    def present(self) -> bool:
        """Whether there is a place, as far as can be told without opening a mask's file."""
        return bool(self.boxes) or self.mask_file is not None or any(len(runs) > 1 for runs in self.runs)

    def mask(self, root: Path, size: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Return the mask, of its own size, or None where there are boxes only; `size` is that of the file."""
        if self.runs:
            shape = self.shape or size
            found = np.zeros(shape, dtype=bool)
            for runs in self.runs:
                flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
                found |= flat.reshape(shape[::-1]).T if self.down else flat.reshape(shape)
            return found
        if self.mask_file is not None:
            return read_image(root / self.mask_file).pixels > 0.5
        return None


class Regions:
    """The regions of the records of a manifest.

    Args:
        manifest: with ``boxes.KEY`` or ``mask.KEY`` columns, or of a synthetic hospital.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._planted = _planted(manifest.root) if manifest.meta.get("layout") == "phantom" else {}
        kinds = {name for kind in ("boxes", "mask") for name in manifest.names_of(kind)}
        planted = {finding for _, finding in self._planted}
        self.findings = tuple(sorted({name.partition(".")[2] for name in kinds} | planted))

    def of(self, manifest: Manifest, index: int, finding: str) -> Region | None:
        """Return the region of a record's finding, None where nobody knows it.

        A finding that the labels say is absent has none; one that they say is present but that nobody outlined is not
        known.
        """
        record = manifest.record(index)
        runs, boxes = record.get(f"mask.{finding}"), record.get(f"boxes.{finding}")
        found: Region | None = None
        if isinstance(runs, list):
            found = Region(runs=(tuple(runs[2:]),), shape=(int(runs[0]), int(runs[1])))
        elif isinstance(runs, str):
            found = Region(mask_file=runs)
        elif isinstance(boxes, list):
            found = Region(boxes=tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in boxes))
        elif self._planted:
            found = self._planted.get((str(record.get("image")), finding))
        label = record.get(f"label.{finding}")
        if found is None:
            return Region() if label == 0 else None
        # A file of a mask is black where the finding is absent: the label spares opening it.
        return Region() if found.mask_file is not None and label == 0 else found


def _planted(root: Path) -> dict[tuple[str, str], Region]:
    path = root / "truth" / "boxes.parquet"
    if not path.is_file():
        return {}
    boxes: dict[tuple[str, str], list[Box]] = {}
    masks: dict[tuple[str, str], list[tuple[int, ...]]] = {}
    for row in pq.read_table(path).to_pylist():
        key = (row["path"], row["name"])
        boxes.setdefault(key, []).append((row["x0"], row["y0"], row["x1"], row["y1"]))
        masks.setdefault(key, []).append(tuple(row["mask"]))
    return {key: Region(boxes=tuple(some), runs=tuple(masks[key]), down=False) for key, some in boxes.items()}

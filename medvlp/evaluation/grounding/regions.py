"""Where findings are: the boxes and masks of a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
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
        runs: run lengths of the mask down its columns, 0 and 1 in turn; empty where there is none.
        shape: (height, width) that the runs fill.
        mask_file: path of a mask's file.
    """

    boxes: tuple[Box, ...] = ()
    runs: tuple[int, ...] = ()
    shape: tuple[int, int] = (0, 0)
    mask_file: str | None = None

    @property
    def present(self) -> bool:
        """Whether there is a place, as far as can be told without opening a mask's file."""
        return bool(self.boxes) or self.mask_file is not None or len(self.runs) > 1

    def mask(self, root: Path) -> NDArray[np.bool_] | None:
        """Return the mask, of its own size, or None where there are boxes only."""
        if self.runs:
            return np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs).reshape(self.shape[::-1]).T
        if self.mask_file is not None:
            return read_image(root / self.mask_file).pixels > 0.5
        return None


class Regions:
    """The regions of the records of a manifest.

    Args:
        manifest: with ``boxes.KEY`` or ``mask.KEY`` columns; where both know a place, the mask is its outline.
    """

    def __init__(self, manifest: Manifest) -> None:
        names = {name for kind in ("boxes", "mask") for name in manifest.names_of(kind)}
        self.findings = tuple(sorted({name.partition(".")[2] for name in names}))

    def of(self, manifest: Manifest, index: int, finding: str) -> Region | None:
        """Return the region of a record's finding, None where nobody knows it.

        A finding that the labels say is absent has none; one that they say is present but that nobody outlined is not
        known.
        """
        record = manifest.record(index)
        runs, drawn = record.get(f"mask.{finding}"), record.get(f"boxes.{finding}")
        listed = drawn if isinstance(drawn, list) else ()
        boxes = tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in listed)
        found: Region | None = None
        if isinstance(runs, list):
            found = Region(boxes, runs=tuple(runs[2:]), shape=(int(runs[0]), int(runs[1])))
        elif isinstance(runs, str):
            found = Region(boxes, mask_file=runs)
        elif isinstance(drawn, list):
            found = Region(boxes)
        label = record.get(f"label.{finding}")
        if found is None:
            return Region() if label == 0 else None
        # A file of a mask is black where the finding is absent: the label spares opening it.
        return Region() if found.mask_file is not None and label == 0 else found

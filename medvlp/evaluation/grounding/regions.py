"""Where findings are: boxes and masks of a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvlp.data.manifest import Manifest
from medvlp.data.mask_files import mask_of
from medvlp.evaluation.grounding.case import Box


@dataclass(frozen=True, eq=False)
class Region:
    """A finding's place in a file, in its pixels; neither boxes nor mask: it was looked for and is not there.

    Attributes:
        boxes: x0, y0, x1, y1.
        drawn: a mask, as the manifest holds it.
    """

    boxes: tuple[Box, ...] = ()
    drawn: object = None

    @property
    def present(self) -> bool:
        """Whether there is a place, as far as can be told without opening a mask's file."""
        return bool(self.boxes) or isinstance(self.drawn, str) or (isinstance(self.drawn, list) and len(self.drawn) > 3)

    def mask(self, root: Path) -> NDArray[np.bool_] | None:
        """Return the mask, of its own size, or None where there are boxes only."""
        return None if self.drawn is None else mask_of(self.drawn, root).pixels


class Regions:
    """The regions of the records of a manifest.

    Args:
        manifest: with ``boxes.KEY`` or ``mask.KEY`` columns.
    """

    def __init__(self, manifest: Manifest) -> None:
        kinds = {name for kind in ("boxes", "mask") for name in manifest.names_of(kind)}
        self.findings = tuple(sorted({name.partition(".")[2] for name in kinds}))

    def of(self, manifest: Manifest, index: int, finding: str) -> Region | None:
        """Return the region of a record's finding, None where nobody knows it.

        A finding that the labels say is absent has none; one that they say is present but that nobody outlined is not
        known.
        """
        drawn, boxes, label = (
            manifest.arrow(name)[index].as_py() if (name := f"{kind}.{finding}") in manifest else None
            for kind in ("mask", "boxes", "label")
        )
        # A file of a mask is black where the finding is absent: the label spares opening it.
        if label == 0 and not isinstance(drawn, list) and not boxes:
            return Region()
        if drawn is None and boxes is None:
            return None
        found = Region(tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in boxes or ()), drawn)
        return found if found.present or label != 1 else None

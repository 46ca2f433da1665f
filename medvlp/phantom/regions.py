"""Where a finding lies: voxels, or points for what is finer than a voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medvlp.phantom.points import Cloud

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The extent of one finding.

    Attributes:
        box: voxels (Z, Y, X) that ``voxels`` covers, None where there are only points.
        voxels: bool, the finding inside the box.
        points: float32 (N, 3) in mm, or None.
        reach: mm around each point that belong to the finding.
        depth: mm of path through the voxels from which on a film shows the finding.
    """

    box: Box | None = None
    voxels: np.ndarray | None = None
    points: np.ndarray | None = None
    reach: float = 2.0
    depth: float = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Plant:
    """What planting one finding adds: its extent and clouds of soft tissue, bone and metal."""

    region: Region
    soft: tuple[Cloud, ...] = ()
    bone: tuple[Cloud, ...] = ()
    metal: tuple[Cloud, ...] = ()


def region_of(mask: np.ndarray, offset: Box | None = None, *, depth: float = 4.0) -> Region:
    """Return the region of a bool array, cropped to its content.

    Args:
        mask: bool (Z, Y, X).
        offset: where the array lies in the body's grid; the whole grid without it.
        depth: see `Region`.
    """
    if not mask.any():
        return Region()
    inner = ndimage.find_objects(mask.view(np.uint8))[0]
    starts = (0, 0, 0) if offset is None else (part.start for part in offset)
    z, y, x = (slice(part.start + at, part.stop + at) for part, at in zip(inner, starts, strict=True))
    return Region(box=(z, y, x), voxels=mask[inner].copy(), depth=depth)

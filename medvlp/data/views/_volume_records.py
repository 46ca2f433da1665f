"""Where a stack lies in the volume that it was made of."""

from __future__ import annotations

import numpy as np

from medvlp.core.places import matrix_rows
from medvlp.core.sample import ImageRecord
from medvlp.io.resize import resize_pad
from medvlp.io.volume import NO_PLACE, Volume
from medvlp.io.volume_slices import VolumeSlices


def slices_record(slices: VolumeSlices, size: int, depth: int, warnings: tuple[str, ...]) -> ImageRecord:
    """Return where slices of `size` pixels lie on those of a volume, in pixels, and in the volume, in voxels.

    Args:
        slices: of the volume.
        size: side of the view.
        depth: how many slices of equal thickness the view has.
        warnings: repeated ones are left out.
    """
    rows, columns = slices.shape[1:]
    fit = resize_pad(np.zeros((rows, columns), np.float32), size, spacing=slices.spacing).fit
    x0, y0, x1, y1 = box = (*fit.to_source(0, 0), *fit.to_source(size, size))
    hung = np.diag([(x1 - x0) / size, (y1 - y0) / size, len(slices) / depth, 1.0])
    hung[:2, 3] = x0, y0
    return ImageRecord(
        seed=0,
        box=box,
        spacing=(slices.spacing[0] * rows / fit.height, slices.spacing[1] * columns / fit.width),
        warnings=tuple(dict.fromkeys(warnings)),
        matrix=matrix_rows(slices.matrix @ hung),
        source=slices.volume_shape,
        world=None if slices.world is None else matrix_rows(slices.world),
    )


def grid_record(volume: Volume, world: np.ndarray, grid: np.ndarray, size: tuple[int, int, int]) -> ImageRecord:
    """Return where a grid lies among the voxels of a volume; pixel and voxel k reach from k to k + 1.

    Args:
        volume: the source.
        world: indices of its voxels -> RAS mm, (4, 4).
        grid: the same of the grid.
        size: of the grid along x, y and z.
    """
    half = np.eye(4)
    half[:3, 3] = 0.5
    # What an oblique volume's cosines leave behind would take a mask across the edge of a voxel, and all axes into it.
    there = np.round(half @ np.linalg.inv(world) @ grid @ np.linalg.inv(half), 9)
    corners = there @ np.array([[0.0, 0.0, 0.0, 1.0], [size[0], size[1], 0.0, 1.0]]).T
    (x0, x1), (y0, y1) = corners[0], corners[1]
    return ImageRecord(
        seed=0,
        box=(float(x0), float(y0), float(x1), float(y1)),
        spacing=(float(np.linalg.norm(grid[:3, 1])), float(np.linalg.norm(grid[:3, 0]))),
        warnings=volume.warnings,
        matrix=matrix_rows(there),
        source=volume.shape,
        world=None if NO_PLACE in volume.steps else matrix_rows(world),
    )

"""Masks as a manifest holds them: run lengths, or the path of a PNG, DICOM or NIfTI file and the values that count.

``lungs/a.png`` is a mask where it is white (above one half of its range), and refused if it is gray alone, as one of 0
and 1 is: ``lungs/a.png#1``; ``organs/a.nii.gz#3`` is one where it is 3, and ``organs/a.nii.gz#3,4`` where it is 3 or 4,
so that several masks may share a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medvlp.core.errors import DataError
from medvlp.core.predictions import Mask
from medvlp.io.errors import UnreadableImage
from medvlp.io.member import below, size_and_time, url_of
from medvlp.io.read import count_frames, read_image
from medvlp.io.volume import NO_PLACE
from medvlp.io.volume_read import read_volume

if TYPE_CHECKING:
    from medvlp.core.sample import ImageRecord

Array = NDArray[np.float64]
_VALUES = re.compile(r"#(\d+(?:,\d+)*)$")
_ALIKE = 1e-3  # voxels: grids that differ by less are one
_REMEMBERED = 256  # files whose masks a process keeps, as run lengths
_GRAY = ("1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N")
_TOP = re.compile(r"values / (\d+) \(")  # the step of `read_image` that scales gray values


@dataclass(frozen=True, eq=False)
class MaskPixels:
    """A mask in its own pixels.

    Attributes:
        pixels: bool (H, W), or (Z, Y, X).
        affine: (4, 4) voxel (i, j, k) -> RAS mm of a volume; None where the file gives no place.
    """

    pixels: NDArray[np.bool_]
    affine: Array | None = None

    def grid(self, record: ImageRecord) -> Array | None:
        """Return the map of the picture's voxels to the mask's, by their places in mm; None where they are the same."""
        if self.affine is not None and record.world is not None:
            half = np.eye(4)
            half[:3, 3] = 0.5  # affines speak of the middles of voxels
            world = np.array([*record.world, (0.0, 0.0, 0.0, 1.0)])
            grid = half @ np.linalg.inv(self.affine) @ world @ np.linalg.inv(half)
            size, own = np.array((record.source or self.pixels.shape)[::-1]), np.array(self.pixels.shape[::-1])
            same = np.abs((grid - np.eye(4)) * [*size, 1.0]).max() < _ALIKE and record.source == self.pixels.shape
            between = np.abs(grid[:3] @ [*size / 2, 1.0] - own / 2)  # the middles of both, along the mask's axes
            if (between >= (np.abs(grid[:3, :3]) @ size + own) / 2).any() and self.pixels.any():
                raise DataError("the mask lies beside its picture in the patient: write it with its picture's affine.")
            return None if same else grid
        if record.source is not None and record.source != self.pixels.shape:
            raise DataError(
                f"the mask is {self.pixels.shape} and its picture {record.source}: bring one to the other's size."
            )
        return None


def mask_path(value: str) -> tuple[str, tuple[int, ...]]:
    """Split a path and the values after it.

    Example:
        >>> mask_path("organs/a.nii.gz#3,4"), mask_path("lungs/a.png")
        (('organs/a.nii.gz', (3, 4)), ('lungs/a.png', ()))
    """
    found = _VALUES.search(value)
    return (value, ()) if found is None else (value[: found.start()], tuple(map(int, found[1].split(","))))


def within(root: Path, name: str) -> Path:
    """Return a file of a folder.

    Raises:
        DataError: if it is none.
    """
    path = below(root if url_of(root) else root.resolve(), name)
    if path is None:
        raise DataError(f"the mask {name!r} leaves the folder {root}: set root to a folder that holds all files.")
    return path


def mask_of(value: object, root: Path) -> MaskPixels:
    """Read a value of a manifest's mask column.

    Args:
        value: run lengths (height, width, runs of 0 and 1 in turn down the columns), or a path as above.
        root: folder that the path is relative to and must not leave.
    """
    if not isinstance(value, str):
        runs = np.asarray(value, np.int64)
        height, width = int(runs[0]), int(runs[1])
        return MaskPixels(np.repeat(np.arange(len(runs) - 2) % 2 == 1, runs[2:]).reshape(width, height).T)
    name, values = mask_path(value)
    path = within(root, name)
    try:
        size, changed = size_and_time(path)
    except OSError:
        raise UnreadableImage("not_found", path=path, detail="the mask's file is not there") from None
    mask, affine = _of_file(path, values, changed, size)
    return MaskPixels(mask.array(), affine)


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """Return a mask (H, W) as a manifest's run lengths."""
    return [*mask.shape, *Mask.of(np.ascontiguousarray(mask.T)).runs.tolist()]


def filled(polygon: Sequence[float], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose middle lies in a polygon x0, y0, x1, y1 ... (even-odd), bool (H, W).

    Coordinates are of corners of pixels, as those of boxes are: the first pixel reaches from 0 to 1.

    Example:
        >>> filled([0, 0, 2, 0, 2, 1, 0, 1], (2, 3)).astype(int).tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    corners = np.asarray(polygon, np.float64).reshape(-1, 2)
    mask = np.zeros(shape, bool)
    starts, ends = corners, np.roll(corners, -1, axis=0)
    for row in range(max(0, int(corners[:, 1].min())), min(shape[0], int(np.ceil(corners[:, 1].max())))):
        y = row + 0.5
        over = (starts[:, 1] <= y) != (ends[:, 1] <= y)
        (x0, y0), (x1, y1) = starts[over].T, ends[over].T
        edges = np.ceil(np.sort(x0 + (y - y0) * (x1 - x0) / (y1 - y0)) - 0.5).clip(0, shape[1]).astype(int)
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            mask[row, first:last] = True
    return mask


@lru_cache(maxsize=_REMEMBERED)
def _of_file(path: Path, values: Sequence[int], changed: int, size: int) -> tuple[Mask, Array | None]:
    """Read a file; the time of its last change and its size are what the answer is kept by."""
    if path.is_dir() or path.name.lower().endswith((".nii", ".nii.gz")):
        volume = read_volume(path)
        found = np.isin(np.rint(volume.voxels), values) if values else volume.voxels > 0.5
        placed = NO_PLACE not in volume.steps  # else a guess: it goes with its picture voxel by voxel
        return Mask.of(found), np.array(volume.affine.to("RAS").matrix) if placed else None
    image = read_image(path)
    if (frames := count_frames(path)) > 1:  # of segments or slices, which may overlap
        raise DataError(f"{path} has {frames} frames, and a mask is one picture: write each as a file of its own.")
    if not values:
        white = image.pixels > 0.5
        if image.pixels.any() and not white.any():
            raise DataError(f"{path} is not black and nowhere white: name the values that count, as in {path.name}#1.")
        return Mask.of(image.stored(white)), None
    if image.meta.get("Mode") not in _GRAY or any("inverted" in step for step in image.steps):
        raise DataError(
            f"{path} is in colour or no plain picture, so its values are no numbers of masks: save them as gray values."
        )
    top = next((int(found[1]) for step in image.steps if (found := _TOP.match(step))), 1)
    return Mask.of(image.stored(np.isin(np.rint(image.pixels * top), values))), None

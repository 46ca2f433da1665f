"""What reading a volume returns: voxels with their place in the patient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medvlp.io.affine import Affine
from medvlp.io.errors import UnreadableImage

OnGap = Literal["error", "resample"]
OnTilt = Literal["error", "shear", "resample"]
MAX_VOLUME_BYTES = 4 << 30
"""Largest float32 volume that is read, about 1024 x 1024 x 1024 voxels."""
NO_PLACE = "place: none, pixdim only"
"""Step of a file that says nothing of where its voxels lie: the affine has their sizes, all else of it is a guess."""


@dataclass(frozen=True)
class Gap:
    """A step of `mm` along the normal, longer than the others, behind slice number `after`, from 0 by position."""

    after: int
    mm: float


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder, without anything that identifies it.

    Attributes:
        number: what ``read_volume(series=...)`` calls it.
        modality: CT, MR ...
        slices: its images; frames count.
        rows: height of the first.
        columns: width of the first.
        localizer: whether all of its images are localizers.
    """

    number: int
    modality: str
    slices: int
    rows: int
    columns: int
    localizer: bool

    @property
    def words(self) -> str:
        """Number, modality, slices and size, for a sentence."""
        kind = f"{self.modality} localizer" if self.localizer else self.modality
        many = "s" if self.slices > 1 else ""
        return f"{self.number}: {kind}, {self.slices} slice{many} of {self.rows} x {self.columns}"


@dataclass(frozen=True)
class GeometryReport:
    """How the slices of a volume lay in their files.

    Attributes:
        slices: places that were read, before any repair.
        spacing: median step along the normal in mm; the slice thickness where there is one slice.
        spread: longest minus shortest step in mm.
        gaps: steps of more than one and a half times the median.
        tilt: angle in degrees between the normal and the direction in which the slices are stacked.
        duplicates: slices that were left out because another had the same place and the same pixels.
        made: slices that ``on_gap="resample"`` interpolated.
        orientation: where x, y and z index grow to, such as ``"LPS"``.
        left_out: reason -> number of files or slices of the folder that are not in the volume.
        series: all series of the folder.
    """

    slices: int
    spacing: float
    spread: float
    gaps: tuple[Gap, ...]
    tilt: float
    duplicates: int
    made: int
    orientation: str
    left_out: dict[str, int] = field(default_factory=dict)
    series: tuple[SeriesInfo, ...] = ()


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image in its own grid.

    Attributes:
        voxels: float32 ``(z, y, x)``, modality values (Hounsfield units for CT), not windowed.
        affine: index ``(i, j, k)`` along x, y and z -> RAS millimetres.
        meta: facts of the file; never a patient's data.
        steps: what was done, in order.
        warnings: guesses and contradictions.
        geometry: how the slices lay in their files; None where the file holds one ready grid (NIfTI).
    """

    voxels: np.ndarray
    affine: Affine
    meta: dict[str, str | int | float] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    geometry: GeometryReport | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``voxels``."""
        return tuple(self.voxels.shape)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of voxel centres in mm along z, y and x."""
        x, y, z = self.affine.spacing
        return z, y, x

    def world_of(self, k: float, j: float, i: float) -> tuple[float, float, float]:
        """Return where the voxel ``voxels[k, j, i]`` has its centre: (x, y, z) in RAS millimetres.

        Example:
            >>> Volume(np.zeros((1, 1, 1), np.float32), Affine(np.diag([1.0, 2.0, 3.0, 1.0]))).world_of(1, 1, 1)
            (1.0, 2.0, 3.0)
        """
        return self.affine.to("RAS")(i, j, k)


def prove_size(slices: int, rows: int, columns: int) -> None:
    """Refuse a float32 volume of more than ``MAX_VOLUME_BYTES``, as ``too_large``, before it is allocated.

    Example:
        >>> prove_size(120, 512, 512)
    """
    if 4 * slices * rows * columns > MAX_VOLUME_BYTES:
        detail = f"{columns} x {rows} x {slices} voxels are more than {MAX_VOLUME_BYTES} bytes"
        raise UnreadableImage("too_large", detail=detail)

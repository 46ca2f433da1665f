"""A volume as slices that hang as a radiologist looks at them, whatever the order and direction of its axes in a file.

=========  ==================  =====================  =====================
plane      rows run to         columns run to         slices run to
=========  ==================  =====================  =====================
axial      the back            the patient's left     the head
coronal    the feet            the patient's left     the back
sagittal   the feet            the back               the patient's left
=========  ==================  =====================  =====================

So the patient's left is at the viewer's right hand, in every volume. Nothing is resampled: the slices are the volume's
own planes, those nearest to the plane's name; an oblique volume stays oblique, and its positions say how.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from medvlp.io.nifti import NiftiFile, plain_nifti
from medvlp.io.volume import NO_PLACE, OnGap, OnTilt, Volume
from medvlp.io.volume_read import read_volume

Plane = Literal["axial", "coronal", "sagittal"]
Axis = Literal["acquisition", "axial", "coronal", "sagittal"]
"""Across which axis a volume is cut; ``acquisition`` is how it was made: see `open_slices`."""

_ALIKE = 0.01  # spacings that differ by less are one
_LETTERS = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}
_PLANES: tuple[Plane, ...] = ("sagittal", "coronal", "axial")  # by the axis that they cut: left, back, head
# Where slices, rows and columns of a plane run to.
_RUN: dict[Plane, str] = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}


class VolumeSlices:
    """The slices of a volume; each is read when it is asked for.

    Args:
        volume: voxels in memory, or a plain NIfTI file.
        plane: how it is cut.

    Attributes:
        plane: how it is cut.
        shape: number of slices, rows and columns.
        step: distance of slices in mm.
        spacing: (row, column) distance of pixel centres in mm.
        meta: facts of the file.
        warnings: what reading announced.

    Example:
        >>> from medvlp.io.affine import Affine
        >>> volume = Volume(np.arange(6, dtype=np.float32).reshape(3, 1, 2), Affine(np.diag([1.0, 1.0, 5.0, 1.0])))
        >>> slices = VolumeSlices(volume, "axial")
        >>> slices.read([2]).tolist(), slices.position(2).tolist()  # x ran to the right and now runs to the left
        ([[[5.0, 4.0]]], [0.5, 0.0, 10.0])
    """

    def __init__(self, volume: Volume | NiftiFile, plane: Plane) -> None:
        self._volume = volume
        self._affine = volume.affine.to("RAS")
        codes = volume.affine.codes
        sizes, spacings = volume.shape[::-1], volume.affine.spacing
        # For slices, rows and columns: which of i, j, k they are, and whether they run against it.
        self._axes = [_axis_of(letter, codes) for letter in _RUN[plane]]
        self._against = [codes[axis] != letter for axis, letter in zip(self._axes, _RUN[plane], strict=True)]
        self.plane = plane
        self.shape = tuple(sizes[axis] for axis in self._axes)
        self.step = spacings[self._axes[0]]
        self.spacing = (spacings[self._axes[1]], spacings[self._axes[2]])
        self.meta = dict(volume.meta)
        self.warnings = volume.warnings
        self._sizes = sizes
        if isinstance(volume, NiftiFile) and self._axes[0] != 2:
            raise ValueError("a NIfTI file is cut across its last axis only: read it as a volume")

    def __len__(self) -> int:
        return self.shape[0]

    def position(self, number: float) -> np.ndarray:
        """Return the middle of a slice, ``(3,)`` float64, RAS mm; between two slices for a fraction."""
        index = [(size - 1) / 2 for size in self._sizes]
        axis = self._axes[0]
        index[axis] = self._sizes[axis] - 1 - number if self._against[0] else number
        return np.array(self._affine(*index))

    @property
    def matrix(self) -> np.ndarray:
        """(4, 4): (column, row, slice, 1) -> voxel (i, j, k, 1) of the volume, both from the corner of the first."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for hung, (axis, against) in enumerate(zip(self._axes[::-1], self._against[::-1], strict=True)):
            matrix[axis, hung] = -1 if against else 1
            matrix[axis, 3] = self._sizes[axis] if against else 0
        return matrix

    @property
    def volume_shape(self) -> tuple[int, ...]:
        """Voxels of the volume along z, y and x, whatever the plane."""
        return tuple(self._volume.shape)

    @property
    def world(self) -> np.ndarray | None:
        """(4, 4): voxel (i, j, k, 1) of the volume -> RAS mm; None where that is a guess, see `NO_PLACE`."""
        return None if NO_PLACE in self._volume.steps else np.array(self._affine.matrix)

    def read(self, numbers: Sequence[int]) -> np.ndarray:
        """Return slices, float32 ``(n, rows, columns)``, modality values.

        Raises:
            UnreadableImage: the file changed since it was opened.
        """
        axis = self._axes[0]
        index = [self._sizes[axis] - 1 - n if self._against[0] else n for n in numbers]
        volume = self._volume
        # An array is (k, j, i): its axis 2 - n holds the index n.
        used = volume.read(index) if isinstance(volume, NiftiFile) else volume.voxels.take(index, axis=2 - axis)
        return np.ascontiguousarray(self._turned(used))

    def _turned(self, voxels: np.ndarray, *, slices: bool = False) -> np.ndarray:
        """Return a view in hanging order, slices as they come unless they are to be turned too."""
        turned = voxels.transpose([2 - axis for axis in self._axes])
        against = self._against if slices else (False, *self._against[1:])
        return turned[tuple(slice(None, None, -1 if each else 1) for each in against)]

    def hung(self) -> np.ndarray:
        """Return all slices, float32 ``(slices, rows, columns)``; of a volume in memory a view of its voxels."""
        if isinstance(self._volume, NiftiFile):
            return self.read(range(len(self)))
        return self._turned(self._volume.voxels, slices=True)

    def values(self) -> np.ndarray:
        """Return all voxels, in any order: what a percentile is of."""
        volume = self._volume
        return volume.read(range(volume.shape[0])) if isinstance(volume, NiftiFile) else volume.voxels


def open_slices(
    path: str | os.PathLike[str], *, axis: Axis = "acquisition", on_gap: OnGap = "error", on_tilt: OnTilt = "error"
) -> VolumeSlices:
    """Open a volume as slices; those of a plain NIfTI file are read only when they are asked for.

    Args:
        path: as `medvlp.io.read_volume` takes it, with `on_gap`, `on_tilt` and its errors.
        axis: across which axis it is cut. ``acquisition``: that across which a DICOM series was stacked; of a NIfTI
            file the one whose spacing differs from that of the two others, which are alike (within 1 %), and the last
            where that does not tell.
        on_gap: see path.
        on_tilt: see path.

    Example:
        >>> import tempfile
        >>> import nibabel
        >>> path = os.path.join(tempfile.mkdtemp(), "mr.nii")
        >>> nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), np.diag([5.0, 1.0, 1.0, 1.0])).to_filename(path)
        >>> slices = open_slices(path)
        >>> slices.plane, slices.shape, slices.step
        ('sagittal', (4, 2, 3), 5.0)
    """
    plain = plain_nifti(path)
    if plain is not None and _axis_of(_RUN[_plane(plain, axis)][0], plain.affine.codes) == 2:
        return VolumeSlices(plain, _plane(plain, axis))
    return slices_of(read_volume(path, on_gap=on_gap, on_tilt=on_tilt), axis)


def slices_of(volume: Volume, axis: Axis = "acquisition") -> VolumeSlices:
    """Cut a volume that was read already; see `open_slices`."""
    return VolumeSlices(volume, _plane(volume, axis))


def _plane(volume: Volume | NiftiFile, axis: Axis) -> Plane:
    if axis != "acquisition":
        return axis
    cut = 2
    if isinstance(volume, NiftiFile) or volume.geometry is None:
        spacings = volume.affine.spacing
        others = [(spacings[a], spacings[b]) for a, b in ((1, 2), (0, 2), (0, 1))]
        alike = [abs(a - b) <= _ALIKE * min(a, b) for a, b in others]
        cut = alike.index(True) if sum(alike) == 1 else 2
    return _PLANES[_LETTERS[volume.affine.codes[cut]]]


def _axis_of(letter: str, codes: str) -> int:
    """Return which of i, j and k runs along a patient's axis."""
    return next(n for n, code in enumerate(codes) if _LETTERS[code] == _LETTERS[letter])

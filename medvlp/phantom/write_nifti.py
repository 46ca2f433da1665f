"""A CT volume or its label map as NIfTI, the same bytes every time."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from medvlp.core.files import write_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ras_affine(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the affine (4, 4) from voxel (i, j, k) to RAS millimetres.

    The voxels run to the patient's left, to the back and to the head, as CT scanners store them; NIfTI's world runs to
    the right and to the front, so x and y change sign.

    Args:
        spacing: mm along x, y and z.
        origin: centre of voxel (0, 0, 0) in mm to the left, the back and the head.

    Example:
        >>> ras_affine((2.0, 2.0, 5.0), (-100.0, -80.0, -200.0))[:3, 3].tolist()
        [100.0, 80.0, -200.0]
    """
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (-origin[0], -origin[1], origin[2])
    return affine


def write_nifti(path: Path, voxels: NDArray[np.int16 | np.uint8], affine: NDArray[np.float64]) -> None:
    """Write voxels (Z, Y, X) as ``.nii.gz``; the axes are stored as NIfTI's (i, j, k) = (x, y, z).

    The affine goes into sform and qform (code 1, scanner), the unit is mm, and the gzip header carries no time or name.

    Raises:
        UserError: if the disk is full or the folder cannot be written; nothing half-written stays.
    """
    image = nib.Nifti1Image(np.ascontiguousarray(voxels.transpose(2, 1, 0)), affine, dtype=voxels.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    write_bytes(path, gzip.compress(image.to_bytes(), compresslevel=3, mtime=0))

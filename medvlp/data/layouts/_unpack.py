"""Volumes of releases that come as arrays, written once as NIfTI, so that every reader and viewer takes them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from medvlp.core.files import written_whole

__all__ = ["write_volume"]


def write_volume(path: Path, voxels: np.ndarray, *, spacing: float = 1.0) -> None:
    """Write a volume whole.

    Args:
        path: ends in ``.nii.gz``.
        voxels: ``(z, y, x)``, which run to the patient's head, back and left.
        spacing: mm between voxels, the same along all axes.

    Example:
        >>> import tempfile
        >>> from medvlp.io import read_volume
        >>> path = Path(tempfile.mkdtemp()) / "a.nii.gz"
        >>> write_volume(path, np.zeros((4, 3, 2), np.int16), spacing=0.8)
        >>> read_volume(path).shape
        (4, 3, 2)
    """
    import nibabel

    image = nibabel.Nifti1Image(voxels.T.copy(), np.diag([-spacing, -spacing, spacing, 1.0]))
    with written_whole(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))

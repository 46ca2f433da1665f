"""One function for every volume: a folder of slices, a multi-frame file, a single slice or NIfTI."""

from __future__ import annotations

import os
from pathlib import Path

from medvlp.core.errors import UserError
from medvlp.io.archive import is_archive, unpacked
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.sniff import open_regular, sniff
from medvlp.io.volume import OnGap, OnTilt, Volume


def read_volume(
    path: str | os.PathLike[str], series: int | str | None = None, on_gap: OnGap = "error", on_tilt: OnTilt = "error"
) -> Volume:
    r"""Read a volume as modality values with its place in the patient.

    The place of voxel (i, j, k) of slices with rows along X and columns along Y (unit vectors), pixel spacing (dr, dc)
    and first pixel at S_k is ``S_0 + i dc X + j dr Y + k (S_n - S_0) / n`` in LPS (PS3.3 C.7.6.2.1.1, with the step of
    slices measured from their positions); slices ascend along X x Y.

    Args:
        path: a folder of DICOM slices (its subfolders are not searched), a DICOM file of one or many frames, a NIfTI
            file, or a zip or tar archive of one of them; told by content.
        series: which series of a folder, where several could be a volume: its number in the refusal's list, or its
            Series Instance UID; ``"2:1"`` is the first volume of series 2, where it holds several.
        on_gap: missing slices and uneven steps are refused, or ``"resample"``: slices are interpolated linearly.
        on_tilt: a gantry tilt is refused, or ``"shear"``: voxels stay and the affine is sheared, or ``"resample"``:
            slices are moved within their planes by linear interpolation.

    Returns:
        voxels float32 ``(z, y, x)``: Hounsfield units for CT, else what the file's rescale or table gives; never
        windowed nor inverted. ``world_of(k, j, i)`` in RAS millimetres; ``geometry`` tells how the slices lay.

    Raises:
        UnreadableImage: it cannot be read rightly; ``reason`` says why, among them several_series, several_volumes,
            gap, tilt, duplicates, other_size, no_geometry, bad_geometry, mixed_units, truncated.
        UserError: an option that there is not.

    Example:
        >>> import tempfile
        >>> import nibabel
        >>> import numpy as np
        >>> path = os.path.join(tempfile.mkdtemp(), "ct.nii")
        >>> nibabel.Nifti1Image(np.full((4, 3, 2), -1000, np.int16), np.diag([1.0, 1.0, 5.0, 1.0])).to_filename(path)
        >>> volume = read_volume(path)
        >>> volume.shape, volume.spacing, float(volume.voxels.min())
        ((2, 3, 4), (5.0, 1.0, 1.0), -1000.0)
    """
    if on_gap not in ("error", "resample"):
        raise UserError(f"on_gap is {on_gap!r}: choose 'error' or 'resample'.")
    if on_tilt not in ("error", "shear", "resample"):
        raise UserError(f"on_tilt is {on_tilt!r}: choose 'error', 'shear' or 'resample'.")
    if not Path(path).is_dir():
        with open_regular(path) as stream, refusing(path):
            if is_archive(stream):
                with unpacked(path) as inside:  # an archive's only file, or the folder that holds its files
                    while inside.is_dir() and len(entries := list(inside.iterdir())) == 1:
                        inside = entries[0]
                    try:
                        return read_volume(inside, series, on_gap, on_tilt)
                    except UnreadableImage as error:
                        raise error.at(path) from None  # the folder that it names is gone
            kind = sniff(stream)
            if kind == "nifti":
                from medvlp.io.nifti import read_nifti

                if series is not None:
                    raise UnreadableImage("bad_series", detail="a NIfTI file has no series", hint="leave series out")
                return read_nifti(stream)
            if kind != "dicom":
                raise UnreadableImage("not_a_volume", detail="it is a 2D image file")
    from medvlp.io.dicom_volume import read_dicom_volume

    return read_dicom_volume(path, series=series, on_gap=on_gap, on_tilt=on_tilt)

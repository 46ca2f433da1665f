"""Masks of a volume's organs, from files of a segmenter or of the manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medvlp.core.errors import DataError
from medvlp.data.mask_files import mask_of
from medvlp.io.member import size_and_time
from medvlp.io.volume import Volume

_SAME = 1e-3  # mm: grids that differ by less are one
_ENDINGS = (".gz", ".nii", ".dcm", ".zip")


def mask_beside(volume: str, place: str) -> Path:
    """Return the file at a place as seen from a volume's folder; ``{name}`` is the volume's, less its ending.

    Example:
        >>> mask_beside("/ct/a.nii.gz", "../organs/{name}.nii.gz").as_posix()
        '/ct/../organs/a.nii.gz'
    """
    name = Path(volume).name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return Path(volume).resolve().parent / place.format(name=name)


def organ_mask(organ: str, values: str, file: Path, volume: Volume) -> np.ndarray:
    """Return where an organ lies in a volume, bool (Z, Y, X).

    Args:
        organ: its name, for error sentences.
        values: of the file that are the organ's, such as ``10,11``; empty: all but 0.
        file: on the grid of the volume.
        volume: as it was read.

    Raises:
        DataError: if the file is not there, lies on another grid, or holds no such organ.
        UnreadableImage: as `medvlp.io.read_volume`.
    """
    path = file.resolve()
    try:
        size_and_time(path)
    except OSError:
        raise DataError(
            f"The {organ} is looked for in {path}, which is not there: write it with a segmenter "
            f"(TotalSegmentator -i VOLUME -o {path} --ml), or convert the model with masks=PLACE."
        ) from None
    mask = mask_of(f"{path.name}#{values}" if values else path.name, path.parent)
    there = volume.affine.to("RAS").matrix
    if mask.pixels.shape != volume.shape or (mask.affine is not None and np.abs(mask.affine - there).max() > _SAME):
        raise DataError(
            f"{path} has {mask.pixels.shape} voxels, or another place, and its volume {volume.shape}: segment the "
            "volume as it is."
        )
    if not mask.pixels.any():
        raise DataError(f"{path} holds no {organ}, and no score can be made without it: leave this volume out.")
    return mask.pixels

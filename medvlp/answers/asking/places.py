"""Masks that a model draws, as files: PNG of the size of an image's file, NIfTI in the grid of a volume's."""

from __future__ import annotations

import gzip
import re
from collections.abc import Container
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medvlp.core.errors import UserError
from medvlp.core.files import write_bytes, written_whole
from medvlp.core.predictions import Mask, Predictions
from medvlp.io.errors import UnreadableImage


def written_places(
    said: Predictions, row: int, source: Path | None, out: Path | None, *, number: int, names: set[str]
) -> dict[str, Any]:
    """Return ``{"masks": {finding: {"pixels", "shape"[, "path"]}}}`` of one row; nothing where there are none.

    Args:
        said: by an answer.
        row: of the predictions.
        source: the file, whose grid a volume's mask takes; of what was prepared None: nothing is written, and a
            picture's mask also has its run lengths, ``runs``.
        out: folder for ``001_FINDING.png`` or ``.nii.gz``; names carry the number of the file and not its name, which
            may tell who it is of. None: nothing is written.
        number: of the file among all that were asked about, from 1.
        names: of what was written of that file, without suffix; those of its masks are added.

    Raises:
        UserError: if `out` cannot be written to.
    """
    found: dict[str, Any] = {}
    for label, mask in (said.masks[row] if said.masks is not None else {}).items():
        found[label] = {"pixels": int(mask.runs[1::2].sum()), "shape": list(mask.shape)}
        if source is None and len(mask.shape) == 2:
            found[label]["runs"] = mask.runs.tolist()
        if out is not None and source is not None:
            names.add(stem := stem_of(number, label, names))
            found[label]["path"] = str(write_mask(mask, source, out / stem))
    return {"masks": found} if found else {}


def stem_of(number: int, words: str, names: Container[str] = ()) -> str:
    """Return the name without suffix of what is written of a file's finding, none of `names`: ``001_mass_left``."""
    stem = f"{number:03d}_" + re.sub(r"[^\w-]", "_", words)
    return next(name for name in chain([stem], (f"{stem}_{n}" for n in count(2))) if name not in names)


def write_mask(mask: Mask, source: Path, stem: Path) -> Path:
    """Write a mask beside others; returns the file, ``STEM.png`` or ``STEM.nii.gz``.

    Args:
        mask: in the pixels of an image's file, or the voxels (z, y, x) of a volume: by its `world` as the model read
            it, without one as `medvlp.io.read_volume` gives it.
        source: that file.
        stem: without suffix; the folder is made if absent.

    Raises:
        UserError: if the folder is a file, or the mask of a volume has no place or another shape than its file.
    """
    if stem.parent.exists() and not stem.parent.is_dir():
        raise UserError(f"{stem.parent} is a file, and masks go to a folder: name another.")
    if len(mask.shape) == 2:
        path = stem.with_name(stem.name + ".png")
        with written_whole(path) as temporary:
            Image.fromarray(np.where(mask.array(), 255, 0).astype(np.uint8)).save(temporary, format="PNG")
        return path
    import nibabel

    path = stem.with_name(stem.name + ".nii.gz")
    voxels = np.ascontiguousarray(mask.array().transpose(2, 1, 0).astype(np.uint8))
    write_bytes(path, gzip.compress(nibabel.Nifti1Image(voxels, _matrix(mask, source)).to_bytes(), mtime=0))
    return path


def _matrix(mask: Mask, source: Path) -> np.ndarray:
    """Return voxel -> RAS mm of a mask, (4, 4): its own, or that of the file whose voxels it counts."""
    if mask.world is not None:
        return np.array([*mask.world, (0, 0, 0, 1)])
    from medvlp.io.volume_read import read_volume

    try:
        volume = read_volume(source)
    except UnreadableImage:
        raise UserError(
            f"{source} has no place in a patient, which a NIfTI file of its masks needs: leave --out out."
        ) from None
    if volume.shape != mask.shape:
        raise UserError(f"{source} has {volume.shape} voxels, its mask {mask.shape}: ask about the file as it is.")
    return np.array(volume.affine.to("RAS").matrix)

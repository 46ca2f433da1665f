"""The first look at a series: one of its slices, shown while its files are still on their way."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.io.errors import UnreadableImage
from medvlp.io.stored_volume import stored_volume
from medvlp.io.volume_read import read_volume
from medvlp.serving.documents import volume_document

MOST_BYTES = 1 << 26
"""Of a file that is looked at so."""
_PLANES = ("axial", "coronal", "sagittal")  # by the axis of a hung volume that has one voxel


def first_look(path: Path) -> dict[str, Any] | None:
    """Return what one slice says of itself: values, orientation, pixel spacing, windows, unit.

    What only its series knows (how many slices, their step, gaps, tilt, how it was made) is not told, and ``look``
    names the plane. None for whatever is no slice of a volume, or cannot be read alone: the upload says why.

    Args:
        path: one file.
    """
    try:
        volume = read_volume(path)
    except UnreadableImage:
        return None
    if volume.shape[0] != 1 or volume.geometry is None:
        return None
    stored = stored_volume(replace(volume, geometry=None))
    document = volume_document(replace(volume, voxels=np.empty(0, np.float32), geometry=None), stored)
    return {
        **document,
        "title": f"{volume.meta.get('Modality', '')} volume".strip(),
        "steps": (),
        "look": _PLANES[stored.values.shape.index(1)],
        "values": base64.b64encode(stored.values.astype("<i2", copy=False).tobytes()).decode(),
    }

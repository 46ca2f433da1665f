"""Which of the patient's directions each edge of a picture points to."""

from __future__ import annotations

import re
import struct

import numpy as np

from medvlp.io.dicom_header import Header
from medvlp.io.dicom_values import frame_items
from medvlp.io.geometry import Hanging

__all__ = ["edges_of", "opposite"]

_OTHER = str.maketrans("LRAPHF", "RLPAFH")
_LETTERS = re.compile(r"[LRAPHF]{1,3}")
_SLANT = 0.25  # cosine below which a direction has no share in the letters


def opposite(letters: str) -> str:
    """Return the letters of the other way.

    Example:
        >>> opposite("LF")
        'RH'
    """
    return letters.translate(_OTHER)


def edges_of(groups: tuple[Header, ...], hanging: Hanging) -> tuple[str, str, str, str]:
    """Return the letters at the left, right, upper and lower edge of the hung picture, "" where nothing says so.

    Args:
        groups: where the frame's attributes may stand, the data set last.
        hanging: how the stored picture is turned.

    Patient Orientation (PS3.3 C.7.6.1.1.1) counts first; else Image Orientation (Patient), C.7.6.2.1.1.
    """
    written = tuple(value.upper() for value in groups[-1].texts("PatientOrientation"))
    if len(written) == 2 and all(_LETTERS.fullmatch(value) for value in written):
        right, lower = written
    else:
        right, lower = _of_cosines(groups)
    if not right:
        return "", "", "", ""
    if hanging.transpose:
        right, lower = lower, right
    right = opposite(right) if hanging.flip_columns else right
    lower = opposite(lower) if hanging.flip_rows else lower
    return opposite(right), right, opposite(lower), lower


def _of_cosines(groups: tuple[Header, ...]) -> tuple[str, str]:
    for header in (*frame_items(groups, "PlaneOrientationSequence"), groups[-1]):
        try:
            numbers = header.numbers("ImageOrientationPatient")
        except (ValueError, struct.error):
            continue
        if len(numbers) == 6:
            return _letters(numbers[:3]), _letters(numbers[3:])
    return "", ""


def _letters(direction: tuple[float, ...]) -> str:
    """Return the letters of an LPS direction, the largest share first."""
    order = np.argsort([-abs(share) for share in direction], kind="stable")
    return "".join(
        "LPH"[axis] if direction[axis] > 0 else "RAF"[axis] for axis in order if abs(direction[axis]) > _SLANT
    )

"""What is in a file, and what reading it did, as one JSON-ready document."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from medvlp.io.errors import UnreadableImage
from medvlp.io.read import read_image

__all__ = ["inspect"]


def inspect(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read an image or a volume and tell about it.

    Args:
        path: any file, or a folder that holds a series of slices.

    Returns:
        ``{"path", "kind": "image" | "volume", "shape", "spacing", "steps", "warnings", "meta"}`` or, where it cannot be
        read, ``{"path", "unreadable": reason, "hint": what is wrong and how to mend it}``. Spacing is in mm, in the
        order of the axes. A multi-frame DICOM file whose frames have places is a volume; ``meta`` of a volume holds its
        ``affine`` and, of DICOM, its ``geometry``.

    Example:
        >>> inspect("missing.dcm")["unreadable"]
        'not_found'
    """
    name = os.fspath(path)
    try:
        picture = None if Path(name).is_dir() else _image(name)
        return picture if picture is not None and not _has_frames(picture) else _volume(name, picture)
    except UnreadableImage as error:
        own = "" if error.path == name else f"{Path(error.path).name}: "
        return {"path": name, "unreadable": error.reason, "hint": f"{own}{error.detail}; {error.hint}"}


def _has_frames(picture: dict[str, Any]) -> bool:
    return picture["meta"].get("NumberOfFrames", 1) > 1


def _volume(path: str, picture: dict[str, Any] | None) -> dict[str, Any]:
    """Tell about a volume, or return the picture of frames that have no place in space."""
    from medvlp.io.volume_read import read_volume

    try:
        volume = read_volume(path)
    except UnreadableImage as error:
        if picture is not None and error.reason in ("no_geometry", "not_a_volume"):
            return picture
        raise
    geometry = {} if volume.geometry is None else {"geometry": dataclasses.asdict(volume.geometry)}
    return {
        "path": path,
        "kind": "volume",
        "shape": list(volume.shape),
        "spacing": list(volume.spacing),
        "steps": list(volume.steps),
        "warnings": list(volume.warnings),
        "meta": {**volume.meta, "affine": volume.affine.matrix.tolist(), **geometry},
    }


def _image(path: str) -> dict[str, Any] | None:
    """Tell about an image; None if it is a NIfTI volume."""
    try:
        image = read_image(path)
    except UnreadableImage as error:
        if error.reason == "volume":
            return None
        raise
    return {
        "path": path,
        "kind": "image",
        "shape": list(image.shape),
        "spacing": None if image.spacing is None else list(image.spacing),
        "spacing_kind": image.spacing_kind,
        "steps": list(image.steps),
        "warnings": list(image.warnings),
        "meta": dict(image.meta),
    }

"""What is in a file, and what reading it did, as one JSON-ready document."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from medvlp.io.errors import UnreadableImage
from medvlp.io.read import read_image

__all__ = ["inspect"]


def inspect(path: str | os.PathLike[str], *, member: str | None = None) -> dict[str, Any]:
    """Read an image or a volume and tell about it.

    Args:
        path: any file, a folder that holds a series of slices, or a zip or tar archive of one.
        member: name of the file in an archive that holds several.

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
        return _look(name, member)
    except UnreadableImage as error:
        own = "" if error.path == name else f"{Path(error.path).name}: "
        return {"path": name, "unreadable": error.reason, "hint": f"{own}{error.detail}; {error.hint}"}


def _look(path: str, member: str | None) -> dict[str, Any]:
    if Path(path).is_dir():
        return _volume(path)
    try:
        picture = _image(path, member)
    except UnreadableImage as error:
        if member is not None or error.reason not in ("volume", "several_images"):
            raise
        return _volume(path, otherwise=error)
    frames = picture["meta"].get("NumberOfFrames", 1)
    return _volume(path, otherwise=picture) if member is None and frames > 1 else picture


def _volume(path: str, *, otherwise: dict[str, Any] | UnreadableImage | None = None) -> dict[str, Any]:
    """Tell about a volume; where what is there has no place in space, tell `otherwise`."""
    from medvlp.io.volume_read import read_volume

    try:
        volume = read_volume(path)
    except UnreadableImage as error:
        if error.reason not in ("no_geometry", "not_a_volume") or otherwise is None:
            raise
        if isinstance(otherwise, UnreadableImage):
            raise otherwise from None
        return otherwise
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


def _image(path: str, member: str | None) -> dict[str, Any]:
    image = read_image(path, member=member)
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

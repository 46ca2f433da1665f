"""What is in a file, and what reading it did, as one JSON-ready document."""

from __future__ import annotations

import os

from medvlp.io.errors import UnreadableImage
from medvlp.io.read import read_image

__all__ = ["inspect"]


def inspect(path: str | os.PathLike[str], *, member: str | None = None) -> dict[str, object]:
    """Read an image or a volume and tell about it.

    Args:
        path: any file.
        member: name of the file in an archive; None where it holds only one.

    Returns:
        ``{"path", "kind": "image" | "volume", "shape", "spacing", "steps", "warnings", "meta"}`` or, where it cannot be
        read, ``{"path", "unreadable": reason, "hint": what is wrong and how to mend it}``. Spacing is in mm, in the
        order of the axes.

    Example:
        >>> inspect("missing.dcm")["unreadable"]
        'not_found'
    """
    name = os.fspath(path)
    try:
        return _image(name, member)
    except UnreadableImage as error:
        if error.reason != "volume":
            return {"path": name, "unreadable": error.reason, "hint": f"{error.detail}; {error.hint}"}
    from medvlp.io.nifti import read_volume

    try:
        volume = read_volume(name)
    except UnreadableImage as error:
        return {"path": name, "unreadable": error.reason, "hint": f"{error.detail}; {error.hint}"}
    return {
        "path": name,
        "kind": "volume",
        "shape": list(volume.shape),
        "spacing": list(volume.spacing),
        "steps": list(volume.steps),
        "warnings": list(volume.warnings),
        "meta": {**volume.meta, "affine": volume.affine.tolist()},
    }


def _image(path: str, member: str | None) -> dict[str, object]:
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

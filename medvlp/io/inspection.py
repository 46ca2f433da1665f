"""What is in a file, and what reading it did, as one JSON-ready document."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvlp.core.errors import UserError
from medvlp.io.errors import UnreadableImage
from medvlp.io.image import Image
from medvlp.io.read import read_image
from medvlp.io.volume import Volume


@dataclass(frozen=True)
class Look:
    """What to look at and how; fields are arguments of ``inspect``."""

    path: str
    member: str | None = None
    preset: str | None = None
    window: int | str | None = None
    series: int | str | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """The document of ``inspect``, and the image or volume that it is about; None where that cannot be read."""

    document: dict[str, Any]
    content: Image | Volume | None


def inspect(
    path: str | os.PathLike[str], *, member: str | None = None, preset: str | None = None,
    window: int | str | None = None, series: int | str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Read an image or a volume and describe it.

    Args:
        path: any file, a folder that holds a series of slices, or a zip or tar archive of one.
        member: name of the file in an archive that holds several.
        preset: recipe to read an image by, ``dicom_voi_v1`` if None; with a volume it is checked that it fits, and what
            it does is listed.
        window: which of an image's own windows to apply, as in ``read_image``; of a multi-frame file the image of its
            first frame is then described.
        series: which series of a folder, as in ``read_volume``.

    Returns:
        ``{"path", "kind": "image" | "volume", "shape", "spacing", "steps", "warnings", "meta"}`` or, where it cannot be
        read, ``{"path", "unreadable": reason, "hint": what is wrong and how to mend it}``. Spacing is in mm, in the
        order of the axes. A multi-frame DICOM file whose frames have places is a volume; ``meta`` of a volume holds its
        ``affine`` and, of DICOM, its ``geometry``.

    Raises:
        UserError: there is no such preset, or an option does not fit what the path names.

    Example:
        >>> inspect("missing.dcm")["unreadable"]
        'not_found'
    """
    return look(Look(os.fspath(path), member, preset, window, series)).document


def look(wanted: Look) -> Seen:
    """Do what ``inspect`` does, and return what was read with it."""
    try:
        return _look(wanted)
    except UnreadableImage as error:
        own = "" if error.path == wanted.path else f"{Path(error.path).name}: "
        hint = f"{own}{error.detail}; {error.hint}"
        return Seen({"path": wanted.path, "unreadable": error.reason, "hint": hint}, None)


def _look(wanted: Look) -> Seen:
    if wanted.series is not None or Path(wanted.path).is_dir():
        return _volume(wanted)
    try:
        image = read_image(
            wanted.path, preset=wanted.preset or "dicom_voi_v1", window=wanted.window, member=wanted.member
        )
    except UnreadableImage as error:
        if wanted.member is not None or error.reason not in ("volume", "several_images"):
            raise
        return _volume(wanted, otherwise=error)
    document = _document(wanted, image, image, dict(image.meta))
    document["spacing_kind"] = image.spacing_kind
    found = Seen(document, image)
    single = wanted.member is not None or wanted.window is not None or image.meta.get("NumberOfFrames", 1) == 1
    return found if single else _volume(wanted, otherwise=found)


def _volume(wanted: Look, *, otherwise: Seen | UnreadableImage | None = None) -> Seen:
    """Describe a volume; where what is there has no place in space, give `otherwise`."""
    from medvlp.io.volume_display import window
    from medvlp.io.volume_read import read_volume

    if wanted.window is not None:
        raise UserError(f"window is {wanted.window!r}, but {wanted.path} is a volume: choose a preset instead.")
    if wanted.member is not None:
        raise UserError(f"member is {wanted.member!r}, but a series is of several files: leave one of them out.")
    try:
        volume = read_volume(wanted.path, wanted.series)
        shown = volume if wanted.preset is None else window(volume, wanted.preset)
    except UnreadableImage as error:
        if error.reason not in ("no_geometry", "not_a_volume", "no_series") or otherwise is None:
            raise (error if error.path else error.at(wanted.path)) from None
        if isinstance(otherwise, UnreadableImage):
            raise otherwise from None
        return otherwise
    geometry = {} if volume.geometry is None else {"geometry": dataclasses.asdict(volume.geometry)}
    meta = {**volume.meta, "affine": volume.affine.matrix.tolist(), **geometry}
    return Seen(_document(wanted, volume, shown, meta), volume)


def _document(wanted: Look, content: Image | Volume, shown: Image | Volume, meta: dict[str, Any]) -> dict[str, Any]:
    return {
        "path": wanted.path, "kind": "image" if isinstance(content, Image) else "volume", "shape": list(content.shape),
        "spacing": None if content.spacing is None else list(content.spacing), "steps": list(shown.steps),
        "warnings": list(shown.warnings), "meta": meta,
    }  # fmt: skip

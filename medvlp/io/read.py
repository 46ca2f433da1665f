"""One function for every 2D image: told apart by content, read by a named recipe, right or refused."""

from __future__ import annotations

import os
from typing import BinaryIO, Literal

from medvlp.core.errors import UserError
from medvlp.io.archive import is_archive, opened_member
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.image import Image
from medvlp.io.presets import Preset, preset_info
from medvlp.io.sniff import open_regular, sniff

__all__ = ["read_image"]


def read_image(
    path: str | os.PathLike[str],
    *,
    preset: str = "dicom_voi_v1",
    frame: int | None = None,
    color: Literal["gray", "rgb"] = "gray",
    member: str | None = None,
) -> Image:
    """Read a DICOM, PNG, JPEG or TIFF file, or one in a zip or tar archive, as a display shows it.

    Args:
        path: the file; its name's suffix does not matter.
        preset: named recipe from stored to display values, see ``medvlp.io.preset_info``.
        frame: frame of a multi-frame DICOM or page of a TIFF, from 0; None takes the first and warns if there are more.
        color: "gray" for pixels ``(H, W)``, "rgb" for ``(H, W, 3)``.
        member: name of the file in an archive; None where it holds only one.

    Returns:
        pixels float32 in [0, 1], 1 = white, with spacing in mm, the steps taken and warnings.

    Raises:
        UnreadableImage: the file cannot be read rightly; ``reason`` says why and ``hint`` how to mend it.
        UserError: there is no such preset or colour.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from medvlp.io import write_png
        >>> path = os.path.join(tempfile.mkdtemp(), "square.png")
        >>> write_png(Image(np.eye(2, dtype=np.float32)), path)
        >>> image = read_image(path)
        >>> image.pixels.tolist(), image.spacing, image.steps
        ([[1.0, 0.0], [0.0, 1.0]], None, ('values / 255 (8 bits)',))
    """
    recipe = preset_info(preset)
    if color not in ("gray", "rgb"):
        raise UserError(f"color is {color!r}: choose 'gray' or 'rgb'.")
    with open_regular(path) as stream, refusing(path):
        if is_archive(stream):
            with opened_member(path, member) as inner:
                return _read(inner, recipe, frame, color)
        if member is not None:
            raise UnreadableImage("not_found", detail="it is no archive and has no members", hint="leave member= out")
        return _read(stream, recipe, frame, color)


def _read(stream: BinaryIO, recipe: Preset, frame: int | None, color: Literal["gray", "rgb"]) -> Image:
    kind = sniff(stream)
    if kind == "nifti":
        raise UnreadableImage("volume", detail="it is a NIfTI volume")
    if kind == "dicom":
        from medvlp.io.dicom import read_dicom

        return read_dicom(stream, preset=recipe, frame=frame, color=color)
    from medvlp.io.raster import read_raster

    return read_raster(stream, kind, frame=frame, color=color)

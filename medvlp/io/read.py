"""One function for every 2D image: told apart by content, read by a named recipe, right or refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from medvlp.core.errors import UserError
from medvlp.io.archive import is_archive, opened_member
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.image import Account, Image
from medvlp.io.presets import FileDisplay, Preset, preset_info
from medvlp.io.sniff import open_regular, sniff

if TYPE_CHECKING:
    from medvlp.io.dicom import Placed


def read_image(
    path: str | os.PathLike[str],
    *,
    preset: str = "dicom_voi_v1",
    frame: int | None = None,
    color: Literal["gray", "rgb"] = "gray",
    window: int | str | None = None,
    member: str | None = None,
) -> Image:
    """Read a DICOM, PNG, JPEG or TIFF file, or one in a zip or tar archive, as a display shows it.

    Args:
        path: the file; its name's suffix does not matter.
        preset: named recipe from stored to display values, see ``medvlp.io.preset_info``.
        frame: frame of a multi-frame DICOM or page of a TIFF, from 0; None takes the first and warns if there are more.
        color: "gray" for pixels ``(H, W)``, "rgb" for ``(H, W, 3)``.
        window: which of a DICOM file's windows to apply, by number from 0 (``meta["Windows"]`` lists center/width) or
            by its explanation in the file ("LUNG"), before any VOI LUT Sequence; None leaves the choice to the preset.
        member: name of the file in an archive; None where it holds only one.

    Returns:
        pixels float32 in [0, 1], 1 = white, with spacing in mm, the steps taken and warnings.

    Raises:
        UnreadableImage: the file cannot be read rightly; ``reason`` says why and ``hint`` how to mend it.
        UserError: there is no such preset or colour, or the preset does not look at the file's windows.

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
    if window is not None and not isinstance(recipe.curve, FileDisplay):
        raise UserError(f"window is {window!r}, but {preset} does not look at a file's windows: leave one of them out.")
    with open_regular(path) as stream, refusing(path):
        if is_archive(stream):
            with opened_member(path, member) as inner:
                return _read(inner, recipe, frame, color, window)
        if member is not None:
            raise UnreadableImage("not_found", detail="it is no archive and has no members", hint="leave member out")
        return _read(stream, recipe, frame, color, window)


def count_frames(path: str | os.PathLike[str]) -> int:
    """Return how many frames of a DICOM file, or pages of a TIFF, `read_image` can be asked for.

    Example:
        >>> import tempfile
        >>> from PIL import Image as Pillow
        >>> path = os.path.join(tempfile.mkdtemp(), "two.tif")
        >>> page = Pillow.new("L", (4, 4))
        >>> page.save(path, save_all=True, append_images=[page])
        >>> count_frames(path)
        2
    """
    with open_regular(path) as stream, refusing(path):
        if is_archive(stream):
            with opened_member(path, None) as inner:
                return _count(inner)
        return _count(stream)


def holds(path: str | os.PathLike[str]) -> Literal["image", "volume"]:
    """Return ``volume`` for a folder, an archive of several files, NIfTI, and DICOM or TIFF of several frames.

    What cannot be read is called an image: whoever reads it says what is wrong.
    """
    if Path(path).is_dir():
        return "volume"
    try:
        return "image" if count_frames(path) == 1 else "volume"
    except UnreadableImage as error:
        return "volume" if error.reason in ("volume", "several_images") else "image"


def frames_placed(
    path: str | os.PathLike[str], *, preset: str = "dicom_voi_v1"
) -> tuple[tuple[int, int], Placed] | None:
    """Return rows and columns of a DICOM file's frames as stored, and how `read_image` places the first of them.

    None of another format.
    """
    from medvlp.io.dicom import groups_of, placed
    from medvlp.io.dicom_file import parse
    from medvlp.io.dicom_layout import check_layout

    with open_regular(path) as stream, refusing(path):
        if is_archive(stream) or sniff(stream) != "dicom":
            return None
        parsed = parse(stream)
        layout, modality = check_layout(parsed, []), (parsed.header.text("Modality") or "").upper()
        groups = groups_of(parsed.header, 0, layout.frames, [])
        return (layout.rows, layout.columns), placed(groups, modality, Account([], []), hang=preset_info(preset).hang)


def _kind(stream: BinaryIO) -> str:
    kind = sniff(stream)
    if kind == "nifti":
        raise UnreadableImage("volume", detail="it is a NIfTI volume")
    return kind


def _count(stream: BinaryIO) -> int:
    kind = _kind(stream)
    if kind == "dicom":
        from medvlp.io.dicom_file import parse
        from medvlp.io.dicom_layout import check_layout

        return check_layout(parse(stream), []).frames
    from medvlp.io.raster import probe_raster

    return probe_raster(stream, kind, 0).pages


def _read(
    stream: BinaryIO, recipe: Preset, frame: int | None, color: Literal["gray", "rgb"], window: int | str | None
) -> Image:
    kind = _kind(stream)
    if kind == "dicom":
        from medvlp.io.dicom import read_dicom
        from medvlp.io.dicom_file import parse

        return read_dicom(parse(stream), preset=recipe, frame=frame, color=color, window=window)
    files = f"{kind.upper()} files"
    if window is not None:
        raise UnreadableImage("bad_window", detail=f"window {window!r} was asked for, {files} have none")
    if not recipe.rasters:
        detail = f"{recipe.name} is for modality values, {files} hold display values"
        raise UnreadableImage("preset_mismatch", detail=detail)
    from medvlp.io.raster import read_raster

    return read_raster(stream, kind, frame=frame, color=color)

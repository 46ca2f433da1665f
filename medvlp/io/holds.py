"""Whether a path holds an image or a volume, told without reading pixels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from medvlp.io.errors import UnreadableImage
from medvlp.io.read import count_frames

__all__ = ["holds"]


def holds(path: str | os.PathLike[str]) -> Literal["image", "volume"]:
    """Return ``volume`` for a folder, an archive of several files, NIfTI, and DICOM or TIFF of several frames.

    What cannot be read is called an image: whoever reads it says what is wrong.

    Example:
        >>> import tempfile
        >>> from PIL import Image as Pillow
        >>> folder = Path(tempfile.mkdtemp())
        >>> Pillow.new("L", (4, 4)).save(folder / "one.png")
        >>> holds(folder / "one.png"), holds(folder)
        ('image', 'volume')
    """
    if Path(path).is_dir():
        return "volume"
    try:
        return "image" if count_frames(path) == 1 else "volume"
    except UnreadableImage as error:
        return "volume" if error.reason in ("volume", "several_images") else "image"

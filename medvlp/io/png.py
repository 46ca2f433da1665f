"""Write an image as PNG, complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image as Pillow

from medvlp.core.errors import UserError
from medvlp.core.files import written_whole
from medvlp.io.image import Image


def write_png(image: Image, path: str | os.PathLike[str], *, bits: Literal[8, 16] = 8) -> None:
    """Write ``image.pixels`` as a PNG of 8 or (gray only) 16 bits, without any metadata.

    Args:
        image: pixels in [0, 1].
        path: where to write; an existing file is replaced only by a complete one.
        bits: depth.

    Raises:
        UserError: the folder cannot be written or the disk is full, or 16 bits are asked for colour.

    Example:
        >>> import tempfile
        >>> from medvlp.io import read_image
        >>> path = os.path.join(tempfile.mkdtemp(), "half.png")
        >>> write_png(Image(np.full((1, 1), 0.5, np.float32)), path, bits=16)
        >>> round(float(read_image(path).pixels[0, 0]), 4)
        0.5
    """
    if bits == 16 and image.pixels.ndim == 3:
        raise UserError(f"{path}: a PNG of 16 bits is written for gray images only; choose 8 bits.")
    top = (1 << bits) - 1
    values = np.rint(np.clip(image.pixels, 0, 1).astype(np.float64) * top).astype(np.uint8 if bits == 8 else np.uint16)
    with written_whole(Path(path)) as temporary:
        Pillow.fromarray(values).save(temporary, format="PNG")

"""PNG, JPEG and TIFF to integers as they are stored, by Pillow; runs in the helper (``medvlp.io.sandbox``).

These formats are no safer than DICOM's: libtiff, libjpeg and libpng are C, and their files come from the same hands.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from medvlp.io.errors import UnreadableImage

_FORMATS = {"png": "PNG", "jpeg": "JPEG", "tiff": "TIFF"}
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262


def decode_raster(stream: BinaryIO, *, kind: str, page: int, deep: bool) -> tuple[np.ndarray, dict[str, object]]:
    """Decode one picture.

    Args:
        stream: the file, at its start; its size was checked by the caller.
        kind: "png", "jpeg" or "tiff".
        page: of a TIFF, from 0.
        deep: a PNG of 16 bits and several channels, which Pillow would cut to 8.

    Returns:
        values ``(H, W)`` or ``(H, W, channels)`` of 8 or 16 bits (32 for Pillow's mode "I"), and the facts ``mode`` (as
        the file has it), ``bits``, ``orientation`` (EXIF) and ``white_is_zero`` (of TIFFs that are not yet inverted).

    Raises:
        UnreadableImage: ``corrupt``, ``truncated`` or ``unsupported_format``.
    """
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    Pillow.MAX_IMAGE_PIXELS = None  # the reader has compared the size with its own limit
    try:
        picture = Pillow.open(stream, formats=(_FORMATS[kind],))
        if page:
            picture.seek(page)
        tags = picture.tag_v2 if kind == "tiff" and hasattr(picture, "tag_v2") else {}  # pyrefly: ignore
        facts: dict[str, object] = {
            "mode": picture.mode,
            "bits": int(np.max(tags.get(_BITS, 16))),
            "orientation": int(picture.getexif().get(_ORIENTATION, 1)),
            "white_is_zero": tags.get(_PHOTOMETRIC) == 0,
        }
        return (_deep_png(stream) if deep else _values(picture)), facts
    except (UnreadableImage, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("corrupt", detail=f"its {_FORMATS[kind]} header cannot be read") from None
    except Exception as error:
        reason = "truncated" if "truncated" in str(error) or isinstance(error, EOFError) else "corrupt"
        raise UnreadableImage(reason, detail=f"its {_FORMATS[kind]} data cannot be decoded") from None


def _values(picture) -> np.ndarray:  # noqa: ANN001 (Pillow is loaded when it is needed)
    mode = picture.mode
    if mode == "F":
        raise UnreadableImage("unsupported_format", detail="it has floating point pixels: what is white is not defined")
    if mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        values = np.asarray(picture)
        return values.astype(np.int32 if mode == "I" else np.uint16, copy=False)
    if mode == "1":
        return np.asarray(picture).view(np.uint8)
    if mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif mode in ("LA", "La", "PA", "RGBa"):
        picture = picture.convert("RGBA")
    elif mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    return np.asarray(picture)


def _deep_png(stream: BinaryIO) -> np.ndarray:
    import imagecodecs

    stream.seek(0)
    return imagecodecs.png_decode(stream.read())

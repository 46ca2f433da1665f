"""PNG, JPEG and TIFF of 8 to 16 bits to a display-ready image."""

from __future__ import annotations

from typing import BinaryIO, Literal

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from medvlp.io.color import is_gray, to_gray
from medvlp.io.dicom_layout import MAX_PIXELS
from medvlp.io.errors import UnreadableImage
from medvlp.io.geometry import Hanging
from medvlp.io.image import Image

__all__ = ["read_raster"]

_FORMATS = {"png": "PNG", "jpeg": "JPEG", "tiff": "TIFF"}
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262
#: EXIF Orientation -> what makes the picture upright (EXIF 2.32, 4.6.4 A)
_UPRIGHT = {
    2: Hanging(flip_columns=True), 3: Hanging(flip_columns=True, flip_rows=True), 4: Hanging(flip_rows=True),
    5: Hanging(transpose=True), 6: Hanging(transpose=True, flip_columns=True),
    7: Hanging(transpose=True, flip_columns=True, flip_rows=True), 8: Hanging(transpose=True, flip_rows=True),
}  # fmt: skip
_BARELY_USED = 1 / 8  # a 16-bit file that stays below this share of its range probably holds 12 bits or fewer


def read_raster(stream: BinaryIO, kind: str, *, frame: int | None, color: Literal["gray", "rgb"]) -> Image:
    """Read one picture; values are divided by the largest value of their bit depth, never stretched.

    Args:
        stream: the file, at its start.
        kind: "png", "jpeg" or "tiff".
        frame: page of a TIFF, from 0; None takes the first and says so.
        color: "gray" for ``(H, W)``, "rgb" for ``(H, W, 3)``.

    Raises:
        UnreadableImage: the file cannot be read rightly.
    """
    steps: list[str] = []
    notes: list[str] = []
    try:
        picture = Pillow.open(stream, formats=(_FORMATS[kind],))
        if picture.width * picture.height > MAX_PIXELS:
            raise UnreadableImage(
                "too_large", detail=f"{picture.height} x {picture.width} pixels are more than {MAX_PIXELS}"
            )
        pages = _pages(picture, kind)
        if frame is not None and not 0 <= frame < pages:
            raise UnreadableImage("bad_frame", detail=f"frame {frame} was asked for, it has frames 0 to {pages - 1}")
        if pages > 1:
            picture.seek(frame or 0)
            steps.append(f"frame {frame or 0} of {pages}")
            if frame is None:
                notes.append(f"the file has {pages} pages: the first was taken (frame= chooses another)")
            if picture.width * picture.height > MAX_PIXELS:
                raise UnreadableImage("too_large", detail="one of its pages is too large")
        meta: dict[str, str | int | float] = {"Format": _FORMATS[kind], "Mode": picture.mode}
        orientation = picture.getexif().get(_ORIENTATION, 1)
        if kind == "png" and _is_deep_colour(stream):
            pixels = _deep_png(stream, steps)
        else:
            pixels = _scaled(picture, kind, steps, notes)
        if orientation in _UPRIGHT:
            steps.append(f"EXIF Orientation {orientation} applied")
            pixels = _UPRIGHT[orientation].apply(pixels)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("corrupt", detail=f"its {_FORMATS[kind]} header cannot be read") from None
    except Pillow.DecompressionBombError:
        raise UnreadableImage("too_large", detail=f"it has more than {MAX_PIXELS} pixels") from None
    except Exception as error:
        reason = "truncated" if "truncated" in str(error) or isinstance(error, EOFError) else "corrupt"
        raise UnreadableImage(reason, detail=f"its {_FORMATS[kind]} data cannot be decoded") from None
    meta["Rows"], meta["Columns"] = int(pixels.shape[0]), int(pixels.shape[1])
    pixels = _as_color(pixels, color, steps, notes)
    return Image(pixels=pixels, meta=meta, steps=tuple(steps), warnings=tuple(notes))


def _pages(picture: Pillow.Image, kind: str) -> int:
    return int(picture.n_frames) if kind == "tiff" else 1  # pyrefly: ignore  (TiffImageFile has n_frames)


def _scaled(picture: Pillow.Image, kind: str, steps: list[str], notes: list[str]) -> np.ndarray:
    """Return float32 ``(H, W)`` or ``(H, W, 3)`` in [0, 1]."""
    tags = picture.tag_v2 if kind == "tiff" and hasattr(picture, "tag_v2") else {}  # pyrefly: ignore
    if picture.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        bits = int(np.max(tags.get(_BITS, 16)))
        values = np.asarray(picture).astype(np.int64)
        if picture.mode == "I" and bits > 16:
            raise UnreadableImage(
                "unsupported_format", detail=f"it has {bits} bits a pixel: what is white is not defined"
            )
        top = (1 << bits) - 1
        if values.min() < 0 or values.max() > top:
            raise UnreadableImage("unsupported_format", detail="its values are signed or beyond its bit depth")
        steps.append(f"values / {top} ({bits} bits)")
        if bits == 16 and 0 < values.max() < top * _BARELY_USED:
            notes.append(
                f"the largest value is {int(values.max())} of {top}: it is dark, or has fewer bits than it says"
            )
        scaled = (values / top).astype(np.float32)
        if kind == "tiff" and tags.get(_PHOTOMETRIC) == 0:  # Pillow inverts 8-bit TIFFs of this kind, but not these
            steps.append("inverted by PhotometricInterpretation WhiteIsZero")
            scaled = 1 - scaled
        return scaled
    if picture.mode == "F":
        raise UnreadableImage("unsupported_format", detail="it has floating point pixels: what is white is not defined")
    if picture.mode == "P":
        steps.append("colour: palette")
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        picture = picture.convert("RGBA")
        alpha = np.asarray(picture)[..., 3:].astype(np.float32) / 255
        if alpha.min() < 1:
            notes.append("transparent pixels were laid over black")
        steps.append("values / 255 (8 bits), alpha over black")
        return np.asarray(picture)[..., :3].astype(np.float32) / 255 * alpha
    if picture.mode == "1":
        steps.append("values of 1 bit")
        return np.asarray(picture).astype(np.float32)
    if picture.mode not in ("L", "RGB"):
        steps.append(f"colour: {picture.mode} to RGB")
        picture = picture.convert("RGB")
    steps.append("values / 255 (8 bits)")
    # A table of 256 divisions instead of one a pixel.
    return (np.arange(256, dtype=np.float64) / 255).astype(np.float32).take(np.asarray(picture))


def _is_deep_colour(stream: BinaryIO) -> bool:
    """Whether a PNG has 16 bits and more than one channel, which Pillow would cut to 8 bits (IHDR, PNG 11.2.1)."""
    stream.seek(24)
    depth_and_type = stream.read(2)
    return len(depth_and_type) == 2 and depth_and_type[0] == 16 and depth_and_type[1] in (2, 4, 6)


def _deep_png(stream: BinaryIO, steps: list[str]) -> np.ndarray:
    import imagecodecs

    stream.seek(0)
    values = imagecodecs.png_decode(stream.read()).astype(np.float64) / 65535
    steps.append("values / 65535 (16 bits)")
    if values.shape[-1] in (2, 4):
        steps.append("alpha over black")
        values = values[..., :-1] * values[..., -1:]
    return (values[..., 0] if values.shape[-1] == 1 else values).astype(np.float32)


def _as_color(pixels: np.ndarray, color: str, steps: list[str], notes: list[str]) -> np.ndarray:
    if color == "rgb":
        return np.ascontiguousarray(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1))
    if pixels.ndim == 2:
        return pixels
    gray = is_gray(pixels)
    steps.append("gray: the common value of R, G and B" if gray else "gray: ITU-R BT.601 luma")
    if not gray:
        notes.append("the image is coloured: it was made gray by its luma")
    return to_gray(pixels)

"""Ways in which released models are shown a picture: cut, squeezed or padded to a square, by their library's filter."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from medvlp.io.resize import resampled

FitTo = Literal["pad", "crop", "crop_floor", "squeeze", "square_pad", "square_crop"]
Resample = Literal["area", "bilinear", "bicubic", "lanczos", "gaussian"]


def fit_to(
    pixels: np.ndarray, size: int, *, fit: FitTo, resample: Resample, resize: int | None = None, bits: int = 8
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Bring an image to a square as another project does.

    Args:
        pixels: ``(H, W)`` float32 in [0, 1].
        size: side of the square.
        fit: ``pad``: the longer side becomes `resize`, black around it; ``crop``: the shorter side does, and what is
            beyond the square is cut off (``crop``: at the middle as torchvision rounds it, ``crop_floor`` as
            transformers does); ``squeeze``: both do, the aspect is lost; ``square_pad`` and ``square_crop``: the
            picture is padded with black, or cut, to a square first and scaled then.
        resample: ``area`` as `resize_pad`; ``bilinear``, ``bicubic``, ``lanczos`` as Pillow (wider filters where the
            picture shrinks); ``gaussian``: a blur, then a linear look-up, as scikit-image; beyond the edge lies
            gray, the 0 of torchxrayvision's -1024 to 1024.
        resize: see `fit`; None: `size`.
        bits: 8: Pillow's filters see and give 256 levels, as where they are given files; else they compute in floats.

    Returns:
        float32 ``(size, size)``, and the corners (x0, y0, x1, y1) of the square in pixels of the source.

    Example:
        >>> picture = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)
        >>> fit_to(picture, 2, fit="crop", resample="area")[1]
        (1.0, 0.0, 3.0, 2.0)
        >>> fit_to(picture, 2, fit="squeeze", resample="area")[0].shape
        (2, 2)
    """
    goal = resize or size
    top, left, rows, columns = _square(pixels.shape, fit)
    if fit.startswith("square"):
        pixels = _cut(pixels, top, left, rows, columns)
    becomes_goal = (min if fit.startswith("crop") else max)(rows, columns)
    aspect_kept = fit in ("crop", "crop_floor")
    # Decimals are cut off, as the releases do it: of the product with the ratio where they pad, of the quotient else.
    if fit == "pad":
        height, width = (max(1, int(n * (goal / becomes_goal))) for n in (rows, columns))
    else:
        height, width = (max(1, n * goal // becomes_goal) if aspect_kept else goal for n in (rows, columns))
    scaled = _scaled(pixels, height, width, resample=resample, bits=bits)
    down, right = (_start(n, size, floor=fit == "crop_floor") for n in (height, width))
    per_row, per_column = rows / height, columns / width
    box = (left + right * per_column, top + down * per_row)
    corners = (*box, box[0] + size * per_column, box[1] + size * per_row)
    return _cut(scaled, down, right, size, size), corners


def _square(shape: tuple[int, ...], fit: FitTo) -> tuple[int, int, int, int]:
    """Return top, left, rows and columns of what is scaled."""
    rows, columns = shape
    if not fit.startswith("square"):
        return 0, 0, rows, columns
    side = (max if fit == "square_pad" else min)(rows, columns)
    if fit == "square_pad":
        return -((side - rows) // 2), -((side - columns) // 2), side, side
    return rows // 2 - side // 2, columns // 2 - side // 2, side, side


def _start(have: int, want: int, *, floor: bool) -> int:
    """Return where a cut of `want` begins, negative where there is padding."""
    if have <= want:
        return -((want - have) // 2)
    return (have - want) // 2 if floor else round((have - want) / 2)


def _cut(pixels: np.ndarray, top: int, left: int, rows: int, columns: int) -> np.ndarray:
    view = np.zeros((rows, columns), np.float32)
    inside = pixels[max(0, top) : top + rows, max(0, left) : left + columns]
    view[max(0, -top) :, max(0, -left) :][: inside.shape[0], : inside.shape[1]] = inside
    return view


def _scaled(pixels: np.ndarray, height: int, width: int, *, resample: Resample, bits: int) -> np.ndarray:
    rows, columns = pixels.shape
    if resample == "area":
        return resampled(pixels, height, width)
    if resample == "gaussian":
        sigma = [max(0.0, (n / m - 1) / 2) for n, m in ((rows, height), (columns, width))]
        blurred = ndimage.gaussian_filter(pixels, sigma, mode="constant", cval=0.5) if any(sigma) else pixels
        zoom = (height / rows, width / columns)
        return ndimage.zoom(blurred, zoom, order=1, mode="grid-constant", cval=0.5, grid_mode=True).astype(np.float32)
    from PIL import Image as Pillow

    method = Pillow.Resampling[resample.upper()]
    if bits == 8:
        levels = Pillow.fromarray(np.rint(pixels * 255).astype(np.uint8))
        return np.asarray(levels.resize((width, height), method), dtype=np.float32) / 255
    floats = Pillow.fromarray(np.ascontiguousarray(pixels, np.float32))
    return np.asarray(floats.resize((width, height), method), dtype=np.float32).clip(0, 1)

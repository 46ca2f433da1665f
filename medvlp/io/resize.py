"""The deterministic resize of every 2D model: aspect kept, area averaged, padded with black, mapped back exactly.

`fit_to` are the ways in which released models are shown a picture: cut, squeezed or padded, by their library's filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array


@dataclass(frozen=True)
class Fit:
    """Where a source image lies in a square view, and the maps between the two.

    Coordinates are continuous, with pixel k from k to k + 1, so the edges of boxes map to edges; x runs along columns.

    Attributes:
        scale: view pixels per source pixel, before ``height`` and ``width`` were rounded to whole pixels; where the
            source's pixels are not square, per pixel along its longer side.
        top: first row of the image in the view.
        left: first column of the image in the view.
        height: rows of the image in the view.
        width: columns of the image in the view.
        source_height: rows of the source.
        source_width: columns of the source.
    """

    scale: float
    top: int
    left: int
    height: int
    width: int
    source_height: int
    source_width: int

    def to_source(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the view to the source image.

        Example:
            >>> Fit(0.5, 0, 2, 8, 4, 16, 8).to_source(2, 8)
            (0.0, 16.0)
        """
        return (x - self.left) * self.source_width / self.width, (y - self.top) * self.source_height / self.height


@dataclass(frozen=True, eq=False)
class Resized:
    """``pixels`` float32 ``(size, size)`` and where the source lies in them."""

    pixels: np.ndarray
    fit: Fit


def resampled(pixels: np.ndarray, height: int, width: int, *, linear: bool = True) -> np.ndarray:
    """Return pixels (H, W) at another size, float32, each axis by `resample_weights`; the aspect need not be kept."""
    rows, columns = pixels.shape
    if (rows, columns) == (height, width):
        return pixels.astype(np.float32)
    smaller = resample_weights(rows, height, linear=linear) @ np.ascontiguousarray(pixels, np.float32)
    # Turned in strips: whole columns of a film lie so far apart that each would push the others out of the cache.
    turned = np.empty((columns, height), np.float32)
    for start in range(0, height, 16):
        turned[:, start : start + 16] = smaller[start : start + 16].T
    return (resample_weights(columns, width, linear=linear) @ turned).T


def resize_pad(pixels: np.ndarray, size: int, *, spacing: tuple[float, float] | None = None) -> Resized:
    """Scale an image to fit a square, keeping its aspect, and centre it on black.

    When shrinking, each new pixel is the exact mean of the source area under it (so the mean is kept and nothing
    aliases); when enlarging, it is interpolated linearly. Both are separable and the same on every machine and any
    number of threads.

    Args:
        pixels: ``(H, W)`` float32.
        size: side of the square, at least 1.
        spacing: (row, column) distance of pixel centres, of which only the ratio counts: pixels that are not square are
            made so. None: they are square.

    Returns:
        float32 ``(size, size)`` and its ``Fit``.

    Raises:
        ValueError: pixels are not ``(H, W)``, or size is below 1.

    Example:
        >>> resize_pad(np.ones((4, 2), np.float32), 2).pixels.tolist()
        [[1.0, 0.0], [1.0, 0.0]]
    """
    if pixels.ndim != 2 or 0 in pixels.shape or size < 1:
        raise ValueError(f"resize_pad needs pixels (H, W) and size >= 1, not {pixels.shape} and {size}")
    rows, columns = pixels.shape
    pixel = 1.0 if spacing is None else spacing[0] / spacing[1]  # its height over its width
    tall, wide = rows * pixel, columns
    per_length = size / max(tall, wide)
    scale = per_length * (pixel if tall >= wide else 1.0)
    height, width = min(size, whole(tall * per_length)), min(size, whole(wide * per_length))
    top, left = (size - height) // 2, (size - width) // 2
    view = np.zeros((size, size), np.float32)
    view[top : top + height, left : left + width] = resampled(pixels, height, width)
    fit = Fit(scale, top, left, height, width, source_height=rows, source_width=columns)
    return Resized(view, fit)


def whole(count: float) -> int:
    """Return the nearest whole number, at least 1, of what spacings in mm come to.

    A thousandth counts for nothing: single precision, in which NIfTI keeps spacings, decides no half.

    Example:
        >>> whole(0.2), whole(2.5000002), whole(2.4999998)
        (1, 2, 2)
    """
    return max(1, round(round(count, 3)))


@lru_cache(maxsize=256)
def resample_weights(source: int, target: int, *, linear: bool = True) -> csr_array:
    """Return the ``(target, source)`` matrix that resamples one axis: area means, or linear when enlarging.

    Each row sums to 1.

    Example:
        >>> resample_weights(4, 2).toarray().tolist()
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
        >>> resample_weights(2, 4).toarray().tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
        >>> resample_weights(2, 4, linear=False).toarray().tolist()
        [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    if target >= source and linear:
        centres = (np.arange(target) + 0.5) * source / target - 0.5
        low = np.clip(np.floor(centres), 0, source - 1).astype(np.int64)
        high = np.minimum(low + 1, source - 1)
        part = np.clip(centres - low, 0, 1)
        rows = np.repeat(np.arange(target), 2)
        columns = np.stack([low, high], axis=1).ravel()
        values = np.stack([1 - part, part], axis=1).ravel()
        return csr_array((values.astype(np.float32), (rows, columns)), shape=(target, source))
    edges = np.arange(target + 1) * (source / target)
    rows, columns, values = [], [], []
    for row in range(target):
        first, last = int(edges[row]), min(source, int(np.ceil(edges[row + 1])))
        index = np.arange(first, last)
        covered = np.minimum(index + 1, edges[row + 1]) - np.maximum(index, edges[row])
        rows.append(np.full(index.size, row))
        columns.append(index)
        values.append(covered / covered.sum())
    return csr_array(
        (np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns))),
        shape=(target, source),
    )


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
            picture is padded with black, or cut, to a square first and scaled then; by ``square_pad`` none is enlarged.
        resample: ``area``: the mean of the source's area under a pixel, as OpenCV also where the picture grows;
            ``bilinear``, ``bicubic``, ``lanczos`` as Pillow (wider filters where the picture shrinks); ``gaussian``: a
            blur, then a linear look-up, as scikit-image; beyond the edge lies gray, the 0 of torchxrayvision's -1024
            to 1024.
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
    top, left, rows, columns = _square(pixels.shape, fit, goal)
    if fit.startswith("square"):
        pixels = _cut(pixels, top, left, rows, columns)
    becomes_goal = (min if fit.startswith("crop") else max)(rows, columns)
    same_aspect = fit in ("crop", "crop_floor")
    # Decimals are cut off, as the releases do it: of the product with the ratio where they pad, of the quotient else.
    if fit == "pad":
        height, width = (max(1, int(n * (goal / becomes_goal))) for n in (rows, columns))
    else:
        height, width = (max(1, n * goal // becomes_goal) if same_aspect else goal for n in (rows, columns))
    scaled = _scaled(pixels, height, width, resample=resample, bits=bits)
    around = max(goal, size) if fit == "pad" else size  # it is padded to that first, and cut then: two roundings
    down, right = (
        _start(n, around, floor=fit == "crop_floor") + _start(around, size, floor=False) for n in (height, width)
    )
    per_row, per_column = rows / height, columns / width
    box = (left + right * per_column, top + down * per_row)
    corners = (*box, box[0] + size * per_column, box[1] + size * per_row)
    return _cut(scaled, down, right, size, size), corners


def _square(shape: tuple[int, ...], fit: FitTo, goal: int) -> tuple[int, int, int, int]:
    """Return top, left, rows and columns of what is scaled."""
    rows, columns = shape
    if not fit.startswith("square"):
        return 0, 0, rows, columns
    side = max(rows, columns, goal) if fit == "square_pad" else min(rows, columns)
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
        return resampled(pixels, height, width, linear=False)
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

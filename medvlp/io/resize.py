"""The deterministic resize of every 2D model: aspect kept, area averaged, padded with black, mapped back exactly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
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

    def to_view(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the source image to the view.

        Example:
            >>> Fit(0.5, 0, 2, 8, 4, 16, 8).to_view(0, 16)
            (2.0, 8.0)
        """
        return self.left + x * self.width / self.source_width, self.top + y * self.height / self.source_height


@dataclass(frozen=True, eq=False)
class Resized:
    """``pixels`` float32 ``(size, size)`` and where the source lies in them."""

    pixels: np.ndarray
    fit: Fit


def resampled(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return pixels (H, W) at another size, float32, each axis by `resample_weights`; the aspect need not be kept.

    Example:
        >>> resampled(np.array([[0.0, 1.0], [1.0, 2.0]]), 1, 2).tolist()
        [[0.5, 1.5]]
    """
    rows, columns = pixels.shape
    smaller = resample_weights(rows, height) @ np.ascontiguousarray(pixels, np.float32)
    return (resample_weights(columns, width) @ np.ascontiguousarray(smaller.T)).T


def resize_pad(pixels: np.ndarray, size: int, *, spacing: tuple[float, float] = (1.0, 1.0)) -> Resized:
    """Scale an image to fit a square, keeping its aspect, and centre it on black.

    When shrinking, each new pixel is the exact mean of the source area under it (so the mean is kept and nothing
    aliases); when enlarging, it is interpolated linearly. Both are separable and the same on every machine and any
    number of threads.

    Args:
        pixels: ``(H, W)`` float32.
        size: side of the square, at least 1.
        spacing: (row, column) distance of pixel centres, of which only the ratio counts: pixels that are not square are
            made so.

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
    tall, wide = rows * spacing[0], columns * spacing[1]
    per_length = size / max(tall, wide)
    scale = per_length * (spacing[0] if tall >= wide else spacing[1])
    height = min(size, max(1, round(tall * per_length)))
    width = min(size, max(1, round(wide * per_length)))
    top, left = (size - height) // 2, (size - width) // 2
    view = np.zeros((size, size), np.float32)
    view[top : top + height, left : left + width] = resampled(pixels, height, width)
    fit = Fit(scale, top, left, height, width, source_height=rows, source_width=columns)
    return Resized(view, fit)


@lru_cache(maxsize=256)
def resample_weights(source: int, target: int) -> csr_array:
    """Return the ``(target, source)`` matrix that resamples one axis: area means when shrinking, else linear.

    Each row sums to 1.

    Example:
        >>> resample_weights(4, 2).toarray().tolist()
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    if target >= source:
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

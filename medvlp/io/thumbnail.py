"""A picture in a terminal: two pixels a character, the upper half block over its background, in 24-bit colour."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

import numpy as np

from medvlp.io.image import Image

__all__ = ["can_show", "thumbnail"]

_UPPER_HALF = "\u2580"
_RESET = "\x1b[0m"


def can_show(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` is a terminal that says it has 24-bit colour, and can write the block.

    Args:
        stream: standard output.
        environment: variables; ``COLORTERM`` is how terminals say it, ``NO_COLOR`` how users say no.

    Example:
        >>> import io
        >>> can_show(io.StringIO(), {"COLORTERM": "truecolor"})
        False
    """
    told = environment.get("COLORTERM", "").lower() in ("truecolor", "24bit") and not environment.get("NO_COLOR")
    try:
        _UPPER_HALF.encode(stream.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return told and stream.isatty()


def thumbnail(image: Image, *, rows: int = 32, columns: int = 80) -> str:
    r"""Draw a picture in at most `rows` lines of at most `columns` characters, in its own proportions.

    Args:
        image: pixels ``(H, W)`` or ``(H, W, 3)`` in [0, 1]; with a spacing, a pixel's shape counts.
        rows: lines of text.
        columns: characters of a line.

    Returns:
        lines that each end with a reset of colour and a line feed.

    Example:
        >>> thumbnail(Image(np.array([[0.0], [1.0]], np.float32)), rows=1, columns=1)
        '\x1b[38;2;0;0;0m\x1b[48;2;255;255;255m▀\x1b[0m\n'
    """
    high, wide = _size(image, 2 * rows, columns)
    rgb = np.rint(255 * np.clip(_shrunk(image.pixels, high, wide), 0, 1)).astype(int)
    lines = []
    for upper, lower in zip(rgb[::2], rgb[1::2], strict=True):
        cells = (_cell(*pair) for pair in zip(upper, lower, strict=True))
        lines.append("".join(cells) + _RESET + "\n")
    return "".join(lines)


def _size(image: Image, most_high: int, most_wide: int) -> tuple[int, int]:
    """Return rows (even) and columns of the drawing; a drawn pixel is taken for square."""
    between_rows, between_columns = image.spacing or (1.0, 1.0)
    height, width = image.shape[0] * between_rows, image.shape[1] * between_columns
    scale = min(most_high / height, most_wide / width)
    high = max(2, 2 * round(height * scale / 2))
    return min(high, most_high), min(max(1, round(width * scale)), most_wide)


def _shrunk(pixels: np.ndarray, high: int, wide: int) -> np.ndarray:
    """Return ``(high, wide, 3)``: the mean of what falls into each cell."""
    rgb = pixels if pixels.ndim == 3 else pixels[..., None]
    rows, columns = _starts(rgb.shape[0], high), _starts(rgb.shape[1], wide)
    rgb = _means(_means(rgb, rows, 0), columns, 1)
    return np.broadcast_to(rgb, (*rgb.shape[:2], 3))


def _starts(length: int, cells: int) -> np.ndarray:
    """Return the first index of each cell; small pictures repeat pixels."""
    return np.arange(cells) * length // cells


def _means(values: np.ndarray, starts: np.ndarray, axis: int) -> np.ndarray:
    stops = np.maximum(np.append(starts[1:], values.shape[axis]), starts + 1)
    sums = np.concatenate(
        [np.zeros_like(values.take([0], axis), dtype=np.float64), values.cumsum(axis, np.float64)], axis
    )
    counts = (stops - starts).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    return (sums.take(stops, axis) - sums.take(starts, axis)) / counts


def _cell(upper: np.ndarray, lower: np.ndarray) -> str:
    front, back = (";".join(str(value) for value in colour) for colour in (upper, lower))
    return f"\x1b[38;2;{front}m\x1b[48;2;{back}m{_UPPER_HALF}"

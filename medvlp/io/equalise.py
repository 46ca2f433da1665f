"""Radiographs as the makers of MIMIC-CXR-JPG and CheXpert turned them into 8 bits, up to JPEG's own loss."""

from __future__ import annotations

import numpy as np

from medvlp.io.preset import EqualisedJpeg

__all__ = ["eight_bits", "equalise"]


def eight_bits(values: np.ndarray, curve: EqualisedJpeg) -> np.ndarray:
    """Scale stored values v to 8 bits.

    ::

        minimum   floor(255 (v - min) / (max - min))
        zero      min(255, round(|255 v / max|)), halves to even, in float32 as OpenCV's ``convertScaleAbs``

    Args:
        values: integers or finite floats of any shape, at least one.
        curve: which of the two.

    Returns:
        uint8 of the same shape; all 0 where the divisor is 0.

    Example:
        >>> eight_bits(np.array([100, 150, 300]), EqualisedJpeg("minimum")).tolist()
        [0, 63, 255]
        >>> eight_bits(np.array([100, 150, 300]), EqualisedJpeg("zero")).tolist()
        [85, 128, 255]
    """
    x = np.asarray(values, np.float64)
    if curve.origin == "minimum":
        x = x - x.min()
    top = float(x.max())
    if top == 0:
        return np.zeros(x.shape, np.uint8)
    if curve.origin == "minimum":
        return (x / top * 255).astype(np.uint8)
    return np.minimum(np.rint(np.abs(x.astype(np.float32) * np.float32(255.0 / top))), 255).astype(np.uint8)


def equalise(picture: np.ndarray) -> np.ndarray:
    """Equalise the histogram of an 8-bit picture, as OpenCV's ``equalizeHist`` defines it.

    With n(v) pixels of value v, N in all, and m the smallest value that occurs::

        v -> round(255 sum(n(u), m < u <= v) / (N - n(m)))        computed in float32, halves to even

    A picture of one value stays as it is. (Pillow's and torchvision's ``equalize`` take other sums and differ by some
    gray levels.)

    Args:
        picture: uint8 of any shape, not empty.

    Returns:
        uint8 of the same shape.

    Example:
        >>> equalise(np.array([10, 10, 20, 30, 30], np.uint8)).tolist()
        [0, 0, 85, 255, 255]
    """
    counts = np.bincount(picture.ravel(), minlength=256)
    smallest = int(np.flatnonzero(counts)[0])
    rest = int(counts.sum() - counts[smallest])
    if rest == 0:
        return picture
    counts[: smallest + 1] = 0
    # float32 as there: the same halves fall to the same side.
    scaled = np.cumsum(counts).astype(np.float32) * (np.float32(255) / np.float32(rest))
    return np.minimum(np.rint(scaled), 255).astype(np.uint8)[picture]

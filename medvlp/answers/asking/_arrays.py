"""Images that are given as arrays."""

from __future__ import annotations

import numpy as np

from medvlp.core.errors import UserError


def gray_pixels(array: np.ndarray) -> np.ndarray:
    """Return an image that is given as an array, (H, W) values in [0, 1] with 1 white, as float32.

    Raises:
        UserError: if it is none.

    Example:
        >>> gray_pixels(np.array([[0.0, 1.0]])).dtype
        dtype('float32')
    """
    if array.dtype.kind not in "biuf":
        what = array.dtype if array.ndim else type(array.item()).__name__
        raise UserError(f"A picture is the path of a file or an array (H, W) of numbers, not of {what}: give one.")
    if array.ndim != 2 or not array.size:
        raise UserError(f"An image as an array has the shape (H, W), not {array.shape}: give gray pixels.")
    pixels = array.astype(np.float32)
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise UserError(
            f"An image as an array holds values in [0, 1], 1 white, not {array.min():g} to {array.max():g}: "
            "give the path of its file, or scale it as a display would."
        )
    return pixels

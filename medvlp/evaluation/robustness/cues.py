"""Coarse form against fine detail of a picture: each by itself, and of two pictures in conflict.

In photographs shape and texture are parted by style transfer (Geirhos et al. 2019), which has no meaning for a
radiograph. Here form is what a low-pass filter leaves (where lungs, heart and large shadows lie), and detail is the
rest (edges, vessels, a pleural line). A shuffled picture has all of its detail and no arrangement.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medvlp.core.randomness import numpy_generator

Pixels = NDArray[np.float32]


def low_pass(pixels: Pixels, coarse: float) -> Pixels:
    """Return (C, H, W) without its detail.

    Args:
        pixels: (C, H, W) in [0, 1].
        coarse: standard deviation of the filter, as a share of the shorter side.
    """
    sigma = coarse * min(pixels.shape[1:])
    return ndimage.gaussian_filter(pixels, (0, sigma, sigma), mode="nearest").astype(np.float32)


def shuffled(pixels: Pixels, cells: int, *, name: str, seed: int = 0) -> Pixels:
    """Return (C, H, W) cut into cells x cells equal pieces, which change places; what is left over at the edges stays.

    Args:
        pixels: (C, H, W).
        cells: along each side.
        name: of the picture: the same one is always shuffled alike.
        seed: of the evaluation.

    Example:
        >>> grid = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
        >>> moved = shuffled(grid, 2, name="a")
        >>> sorted(moved.flatten().tolist()) == grid.flatten().tolist(), bool((moved == grid).all())
        (True, False)
    """
    high, wide = (side // cells for side in pixels.shape[1:])
    out = pixels.copy()
    order = numpy_generator(seed, 0, f"shuffled {name}").permutation(cells * cells)
    for to, source in enumerate(order.tolist()):
        (i, j), (k, m) = divmod(to, cells), divmod(source, cells)
        piece = pixels[:, k * high : (k + 1) * high, m * wide : (m + 1) * wide]
        out[:, i * high : (i + 1) * high, j * wide : (j + 1) * wide] = piece
    return out


def in_conflict(form: Pixels, detail: Pixels, coarse: float) -> Pixels:
    """Return the coarse form of one picture (C, H, W) with the fine detail of another, cut to [0, 1].

    Example:
        >>> flat, striped = np.full((1, 8, 8), 0.25, np.float32), np.tile(np.float32([0.0, 1.0]), (1, 8, 4))
        >>> mixed = in_conflict(flat, striped, 1.0)
        >>> float(in_conflict(flat, flat, 1.0).mean()), bool(mixed[0, 0, 1] > mixed[0, 0, 0])
        (0.25, True)
    """
    return np.clip(low_pass(form, coarse) + detail - low_pass(detail, coarse), 0, 1).astype(np.float32)

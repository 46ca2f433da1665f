"""Windows over an enlarged picture, and what is made of each put back in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def spliced(make: Callable[[Tensor], Tensor], images: Tensor, *, zoom: int) -> Tensor:
    """Return what `make` says of windows as large as the images, cut from them enlarged; overlaps are averaged.

    Windows begin at every two thirds of one, and at the end. With `zoom` 1 it is ``make(images)``; else of (R, C, H, W)
    and `make` -> (R, W', rows, columns) it is (R, W', zoom rows, zoom columns).

    Example:
        >>> ramp = torch.arange(6.0).expand(1, 1, 6, 6)
        >>> found = spliced(lambda window: window[:, :, ::2, ::2], ramp, zoom=2)
        >>> found.shape, bool((found.diff(dim=3) > 0).all())
        (torch.Size([1, 1, 6, 6]), True)
    """
    if zoom == 1:
        return make(images)
    height, width = images.shape[2:]
    large = F.interpolate(images, scale_factor=zoom, mode="bilinear", align_corners=False)
    first = make(large[:, :, :height, :width])
    rows, columns = first.shape[2:]
    total = first.new_zeros(*first.shape[:2], zoom * rows, zoom * columns)
    count = torch.zeros_like(total[:1, :1])
    for i, j in ((i, j) for i in _starts(rows, zoom) for j in _starts(columns, zoom)):
        y, x = round(i * height / rows), round(j * width / columns)
        here = slice(i, i + rows), slice(j, j + columns)
        total[:, :, *here] += first if i == j == 0 else make(large[:, :, y : y + height, x : x + width])
        count[:, :, *here] += 1
    return total / count


def resized(maps: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return maps (R, W, rows, columns) on another grid, bilinearly."""
    return maps if maps.shape[2:] == grid else F.interpolate(maps, grid, mode="bilinear", align_corners=False)


def _starts(cells: int, zoom: int) -> Iterator[int]:
    last = (zoom - 1) * cells
    yield from range(0, last, max(round(cells * 2 / 3), 1))
    yield last

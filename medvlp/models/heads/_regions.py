"""Tokens as maps, the places of their cells, and what a map holds within boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def map_of(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """Tokens (R, N, W) of a grid of two axes -> maps (R, W, rows, columns)."""
    return tokens.transpose(1, 2).unflatten(2, tuple(grid))


def within(maps: Tensor, boxes: Tensor, row: Tensor, *, size: int = 1) -> Tensor:
    """Return what maps hold within boxes: RoIAlign (He et al. 2017) by torchvision, sampled once a cell or finer.

    Args:
        maps: (R, W, h, w).
        boxes: (M, 4) x0, y0, x1, y1 in shares of the map's sides.
        row: (M,) the map of each.
        size: S, parts that a box is cut into along each side.

    Returns:
        (M, W, S, S).
    """
    from torchvision.ops import roi_align

    # In bfloat16 the number of a map above 256 is another one's, or nobody's.
    wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
    height, width = maps.shape[-2:]
    cells = boxes.to(wide) * wide.new_tensor([width, height, width, height])
    found = roi_align(wide, torch.cat([row.to(wide)[:, None], cells], dim=1), (size, size), aligned=True)
    return found.to(maps.dtype)


def centres(grid: Sequence[int], *, like: Tensor) -> Tensor:
    """Middles (x, y) of the cells in [0, 1], row by row: (N, 2), in float32 at least."""
    wide = torch.promote_types(like.dtype, torch.float32)
    y, x = ((torch.arange(n, dtype=wide, device=like.device) + 0.5) / n for n in grid)
    return torch.stack([x.repeat(len(y)), y.repeat_interleave(len(x))], dim=1)


def sines(points: Tensor, width: int) -> Tensor:
    """Sines and cosines of x and y in [0, 1], (n, width): wavelengths from one picture down to a sixteenth of it."""
    wide = points.to(torch.promote_types(points.dtype, torch.float32))
    steps = torch.linspace(0, math.log(16), width // 4, dtype=wide.dtype, device=wide.device).exp()
    angles = (wide[:, :, None] * (2 * math.pi * steps)).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(points.dtype)

"""Stacks that are no regular, straight grid made one by linear interpolation, when the user asks for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvlp.io.affine import Affine
from medvlp.io.volume import prove_size


@dataclass(frozen=True, eq=False)
class Evened:
    """Slices at equal steps, float32 ``(z, y, x)``: the step in mm, and the numbers of those that were interpolated."""

    voxels: np.ndarray
    spacing: float
    made: tuple[int, ...]


def even_out(voxels: np.ndarray, heights: np.ndarray, typical: float, limit: float) -> Evened:
    """Interpolate slices at equal steps from the first to the last; a slice that lies on the grid is kept as it is.

    Args:
        voxels: float32 ``(z, y, x)``.
        heights: position of each slice in mm, ascending, ``(z,)``.
        typical: the usual step in mm; the new one is the nearest that divides the whole length.
        limit: distance in mm within which a slice lies on the grid.

    Raises:
        UnreadableImage: ``too_large``.

    Example:
        >>> found = even_out(np.float32([[[0]], [[2]], [[8]]]), np.array([0.0, 1.0, 4.0]), typical=1.0, limit=0.01)
        >>> found.voxels.ravel().tolist(), found.made
        ([0.0, 2.0, 4.0, 6.0, 8.0], (2, 3))
    """
    span = float(heights[-1] - heights[0])
    count = round(min(span / typical, 1e9)) + 1
    prove_size(count, *voxels.shape[1:])
    out = np.empty((count, *voxels.shape[1:]), np.float32)
    made: list[int] = []
    for index, height in enumerate(np.linspace(heights[0], heights[-1], count)):
        above = int(np.clip(np.searchsorted(heights, height), 1, len(heights) - 1))
        below = above - 1
        nearest = below if height - heights[below] < heights[above] - height else above
        if abs(heights[nearest] - height) <= limit:
            out[index] = voxels[nearest]
            continue
        share = (height - heights[below]) / (heights[above] - heights[below])
        out[index] = _between(voxels[below], voxels[above], share)
        made.append(index)
    return Evened(out, span / (count - 1), tuple(made))


@dataclass(frozen=True, eq=False)
class Straightened:
    """A grid whose third axis stands on the other two, wide enough for all slices.

    `outside` counts the voxels that no slice covers; they hold `fill`, the smallest value of all slices.
    """

    voxels: np.ndarray
    affine: Affine
    outside: int
    fill: float


def straighten(voxels: np.ndarray, affine: Affine, normal: np.ndarray) -> Straightened:
    """Move each slice within its plane onto a grid along the normal, by linear interpolation between pixels.

    Args:
        voxels: float32 ``(z, y, x)``.
        affine: sheared: the step between slices is not along ``normal``.
        normal: unit vector ``(3,)`` across the slices, in the affine's frame.

    Raises:
        UnreadableImage: ``too_large``.

    Example:
        >>> sheared = Affine(np.array([[1, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]]))  # x grows with z
        >>> found = straighten(np.float32([[[4, 8]], [[4, 8]]]), sheared, np.array([0.0, 0.0, 1.0]))
        >>> found.voxels.tolist(), found.outside
        ([[[4.0, 8.0, 4.0]], [[4.0, 6.0, 4.0]]], 3)
    """
    matrix = affine.matrix
    step = matrix[:3, 2]
    slide = step - normal * (step @ normal)  # mm in the plane, from a slice to the next
    # The rows and columns may be a little off a right angle: solve for both together.
    per_slice = np.linalg.lstsq(matrix[:3, :2], slide, rcond=None)[0]
    shifts = np.arange(len(voxels))[:, None] * per_slice  # pixels along x and y
    low, high = np.floor(shifts.min(axis=0) + 1e-6), np.ceil(shifts.max(axis=0) - 1e-6)
    columns, rows = (np.array(voxels.shape[:0:-1]) + np.minimum(high - low, 1e9)).astype(int)
    prove_size(len(voxels), int(rows), int(columns))
    out = np.empty((len(voxels), rows, columns), np.float32)
    missing = np.ones(out.shape, bool)
    for plane, new, hole, shift in zip(voxels, out, missing, shifts - low, strict=True):
        _place(plane, new, hole, shift)
    fill = float(np.nanmin(voxels)) if np.isfinite(voxels).any() else 0.0
    out[missing] = fill
    straight = matrix.copy()
    straight[:3, 2] = normal * (step @ normal)
    straight[:3, 3] += matrix[:3, :2] @ low
    return Straightened(out, Affine(straight, affine.frame), int(missing.sum()), fill)


def _place(plane: np.ndarray, new: np.ndarray, hole: np.ndarray, shift: np.ndarray) -> None:
    """Write a plane into a larger one, moved by (x, y) pixels; mark what it covers."""
    (left, across), (top, down) = _parts(shift[0]), _parts(shift[1])
    if down:
        plane = _between(plane[1:], plane[:-1], down)
        top += 1
    if across:
        plane = _between(plane[:, 1:], plane[:, :-1], across)
        left += 1
    inside = np.s_[top : top + plane.shape[0], left : left + plane.shape[1]]
    new[inside] = plane
    hole[inside] = False


def _parts(shift: float) -> tuple[int, float]:
    whole = int(np.floor(shift + 1e-6))
    rest = float(shift - whole)
    return whole, rest if rest > 1e-6 else 0.0


def _between(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return (a.astype(np.float64) * (1 - share) + b.astype(np.float64) * share).astype(np.float32)

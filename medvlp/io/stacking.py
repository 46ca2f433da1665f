"""Slices to a stack: ordered by position along their normal, spacing and direction measured from positions only.

The names of files, Instance Number, Slice Thickness and Spacing Between Slices order and measure nothing: they are
wrong in too many files. A stack that is no regular, straight grid is made one only when the user asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from medvlp.io.affine import Affine
from medvlp.io.slices import Place, Slice
from medvlp.io.volume import Gap, prove_size

_GAP = 1.5  # of the usual step
_TILT_DEGREES = 0.1
_ROUNDED = 0.1 + 1e-6  # mm: a slice and the ends of its line, each half a unit of the first decimal


def tolerance(place: Place) -> float:
    """Return the distance in mm below which two positions are the same: rounding and jitter, never a voxel."""
    return min(0.05, 0.2 * min(place.spacing))


def normal_of(place: Place) -> np.ndarray:
    """Return the unit vector ``(3,)`` in LPS along which slices are stacked: rows x columns."""
    normal = np.cross(place.along_row, place.along_column)
    return normal / np.linalg.norm(normal)


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order of position.

    Attributes:
        places: the slices at each place; more than one are duplicates.
        heights: float64 ``(n,)``, position along the normal in mm, ascending.
        direction: ``(3,)``, displacement in LPS mm for each mm of height; the normal itself unless tilted.
        typical: median step in mm; the thickness where there is one slice.
        steps: lengths in mm from each place to the next, ``(n - 1,)``; `gaps` are those that are too long.
        even: whether all places lie on one regular grid, but for rounding: 0.1 mm, at most a fifth of the step; where a
            slice is missing, another is a third of a step off, or more.
        tilt: angle in degrees between direction and normal; `tilted` where that is more than rounding.
    """

    places: tuple[tuple[Slice, ...], ...]
    heights: np.ndarray
    direction: np.ndarray
    typical: float
    steps: np.ndarray
    gaps: tuple[Gap, ...]
    even: bool
    tilt: float
    tilted: bool

    @property
    def first(self) -> Place:
        """The place of the first slice."""
        return _placed(self.places[0][0])

    @property
    def spacing(self) -> float:
        """Step of the regular grid from the first to the last slice, in mm along the normal."""
        count = len(self.places)
        return float((self.heights[-1] - self.heights[0]) / (count - 1)) if count > 1 else self.typical

    def affine(self, spacing: float) -> Affine:
        """Return indices -> LPS mm for slices ``spacing`` mm apart along the normal."""
        place = self.first
        matrix = np.eye(4)
        # PixelSpacing is (between rows, between columns): the column index i moves along the row.
        matrix[:3, 0] = np.multiply(place.along_row, place.spacing[1])
        matrix[:3, 1] = np.multiply(place.along_column, place.spacing[0])
        matrix[:3, 2] = self.direction * spacing
        matrix[:3, 3] = place.position
        return Affine(matrix, "LPS")


def by_place(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Order slices of one orientation along their normal and put those at the same place together."""
    listed = list(slices)
    positions = np.array([_placed(slice_).position for slice_ in listed])
    heights = positions @ normal_of(_placed(listed[0]))
    limit = tolerance(_placed(listed[0]))
    places: list[list[Slice]] = []
    start = 0
    for index in np.argsort(heights, kind="stable"):
        if places and heights[index] - heights[start] <= limit:
            if np.abs(positions[index] - positions[start]).max() > limit:
                raise listed[index].refusal("bad_geometry", "it lies beside another slice, in the same plane")
            places[-1].append(listed[index])
            continue
        places.append([listed[index]])
        start = index
    return places


def stack_slices(slices: Iterable[Slice]) -> Stack:
    """Order slices and measure how they are stacked.

    Args:
        slices: of one orientation, size and pixel spacing.
    """
    places = by_place(slices)
    firsts = [_placed(place[0]) for place in places]
    normal, limit = normal_of(firsts[0]), tolerance(firsts[0])
    positions = np.array([place.position for place in firsts], np.float64)
    heights = positions @ normal
    if len(places) == 1:
        thickness = firsts[0].thickness
        if thickness is None:
            raise places[0][0].refusal("no_geometry", "it is the only slice, and SliceThickness is missing")
        return Stack((tuple(places[0]),), heights, normal, thickness, np.zeros(0), (), True, 0.0, False)
    span = heights[-1] - heights[0]
    direction = (positions[-1] - positions[0]) / span
    away = positions - positions[0] - np.outer(heights - heights[0], direction)
    worst = int(np.abs(away).max(axis=1).argmax())
    steps = np.diff(heights)
    typical = float(np.median(steps))
    slack = max(limit, min(_ROUNDED, 0.2 * typical))  # positions in files often have one decimal
    if np.abs(away[worst]).max() > slack:
        far = float(np.linalg.norm(away[worst]))
        raise places[worst][0].refusal("bad_geometry", f"it lies {far:.3g} mm beside the line of the other slices")
    grid = np.linspace(heights[0], heights[-1], len(places))
    drift = direction - normal
    tilt = float(np.degrees(np.arctan(np.linalg.norm(drift))))
    return Stack(
        places=tuple(tuple(place) for place in places), heights=heights, direction=direction, typical=typical,
        steps=steps, gaps=tuple(Gap(int(k), float(steps[k])) for k in np.flatnonzero(steps > _GAP * typical)),
        even=bool(np.abs(heights - grid).max() <= slack), tilt=tilt,
        tilted=bool(np.abs(drift * span).max() > slack and tilt > _TILT_DEGREES),
    )  # fmt: skip


def _placed(slice_: Slice) -> Place:
    if slice_.place is None:
        raise slice_.refusal("no_geometry", slice_.lack)
    return slice_.place


@dataclass(frozen=True, eq=False)
class Evened:
    """Slices at equal steps, float32 ``(z, y, x)``: the step in mm, and the numbers of those that were interpolated."""

    voxels: np.ndarray
    spacing: float
    made: tuple[int, ...]


def even_out(voxels: np.ndarray, heights: np.ndarray, typical: float, limit: float) -> Evened:
    """Interpolate slices at equal steps from first to last; one that lies on the grid, within `limit` mm, stays.

    `heights` are positions in mm, ascending; the step is the one nearest to `typical` that divides the whole length.
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
    """Move each slice within its plane onto a grid along the unit vector `normal`, by linear interpolation.

    The affine is sheared: the step between slices is not along the normal.
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

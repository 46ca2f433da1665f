"""The soft parts of a chest as voxels: skin, fat and muscle, lungs, heart and great vessels, diaphragm, stomach.

Edges are painted with their partial volume, so a border lies where the curves say to a fraction of a voxel. All of it
is elementwise float32, hence the same bytes whatever the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.points import curve
from medvlp.phantom.thorax import Anatomy, Cage, cage_at, dome_height, heart_borders, heart_depth, spine_y

SPACING: Final = (3.5, 5.0, 3.5)
"""Voxel edges (dz, dy, dx) in mm: the body is drawn finer across the two directions that a frontal film shows."""

_EDGE: Final = 4.2  # mm over which a border fades, about a voxel
_MUSCLE: Final = np.float32(1.05)
_FAT: Final = np.float32(0.92)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Voxel centres: ``z (Z, 1, 1)``, ``y (1, Y, 1)``, ``x (1, 1, X)`` in mm, float32."""

    z: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels (Z, Y, X)."""
        return self.z.size, self.y.size, self.x.size

    @property
    def origin(self) -> tuple[float, float, float]:
        """Centre of voxel (0, 0, 0) as (x, y, z) mm."""
        return float(self.x.flat[0]), float(self.y.flat[0]), float(self.z.flat[0])

    def index(self, xyz: np.ndarray) -> np.ndarray:
        """Return the flat index of the voxel nearest to each point ``(N, 3)``."""
        depth, height, width = self.shape
        flat = np.zeros(len(xyz), np.int64)
        for axis, cells, edge in ((2, depth, SPACING[0]), (1, height, SPACING[1]), (0, width, SPACING[2])):
            place = np.rint((xyz[:, axis] - np.float32(self.origin[axis])) / np.float32(edge)).astype(np.int64)
            flat = flat * cells + np.clip(place, 0, cells - 1)
        return flat

    def box(self, low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[slice, slice, slice]:
        """Return the voxels (Z, Y, X) between two corners (x, y, z) in mm, at least one voxel each way."""
        slices = []
        for axis, cells, edge in ((2, self.shape[0], 0), (1, self.shape[1], 1), (0, self.shape[2], 2)):
            first = int(np.floor((low[axis] - self.origin[axis]) / SPACING[edge]))
            last = int(np.ceil((high[axis] - self.origin[axis]) / SPACING[edge])) + 1
            first = min(max(first, 0), cells - 1)
            slices.append(slice(first, min(max(last, first + 1), cells)))
        return slices[0], slices[1], slices[2]

    def side(self, side: int) -> tuple[slice, slice, slice]:
        """Return the voxels of the right (0) or left (1) half."""
        half = self.x.size // 2
        return slice(0, None), slice(0, None), slice(half, self.x.size) if side else slice(0, half)

    def part(self, box: tuple[slice, slice, slice]) -> Grid:
        """Return the coordinates of a box."""
        return Grid(self.z[box[0]], self.y[:, box[1]], self.x[:, :, box[2]])


@dataclass(frozen=True, slots=True, eq=False)
class SoftTissue:
    """A chest's soft parts.

    Attributes:
        grid: voxel centres.
        density: float32 (Z, Y, X), relative to water; findings change it in place.
        lung: float32 (Z, Y, X), share of the voxel that lies inside the pleural cavities.
        heart: float32 (Z, Y, X), share that is heart or great vessel.
        cage: inside of the ribs at the grid's heights.
    """

    grid: Grid
    density: np.ndarray
    lung: np.ndarray
    heart: np.ndarray
    cage: Cage


def grid_of(anatomy: Anatomy) -> Grid:
    """Return the voxel centres for a chest: from the neck to the upper abdomen, x = 0 between two voxels."""
    dz, dy, dx = SPACING
    x = (np.arange(120, dtype=np.float32) - np.float32(59.5)) * np.float32(dx)
    y = np.arange(64, dtype=np.float32) * np.float32(dy) - np.float32(165.0)
    z = np.float32(anatomy.apex - 350.0) + np.arange(120, dtype=np.float32) * np.float32(dz)
    return Grid(z[:, None, None], y[None, :, None], x[None, None, :])


def _column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(-1, 1, 1)


def _rounded(
    across: np.ndarray, half_width: np.ndarray, along: np.ndarray, half_depth: np.ndarray, power: float
) -> np.ndarray:
    """Return the soft inside of a superellipse in each slice; distances (Z, 1, X) and (Z, Y, 1) from its centre."""
    half_width, half_depth = np.maximum(half_width, 1.0), np.maximum(half_depth, 1.0)
    steep = (half_width + half_depth) / np.float32(2 * power * _EDGE)
    first = np.float32(0.5) + steep - steep * np.power(np.abs(across) / half_width, np.float32(power))
    result = first - steep * np.power(np.abs(along) / half_depth, np.float32(power))
    return np.clip(result, 0.0, 1.0, out=result)


def capsule(field: np.ndarray, grid: Grid, line: np.ndarray, radius: np.ndarray | float) -> None:
    """Paint a tube along a line ``(N, 3)`` into a field (Z, Y, X): the maximum of what is there and the tube."""
    radii = np.broadcast_to(np.asarray(radius, np.float32), (len(line),))
    for a, b, r in zip(line[:-1], line[1:], radii[1:], strict=True):
        reach = float(r) + 4.0
        low, high = np.minimum(a, b) - reach, np.maximum(a, b) + reach
        box = grid.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        near, step = grid.part(box), b - a
        dx, dy, dz = near.x - a[0], near.y - a[1], near.z - a[2]
        along = np.clip((dx * step[0] + dy * step[1] + dz * step[2]) / max(float((step * step).sum()), 1e-6), 0.0, 1.0)
        distance = np.sqrt((dx - along * step[0]) ** 2 + (dy - along * step[1]) ** 2 + (dz - along * step[2]) ** 2)
        np.maximum(field[box], np.clip(np.float32(0.5) + (r - distance) / _EDGE, 0.0, 1.0), out=field[box])


def aorta_line(anatomy: Anatomy) -> np.ndarray:
    """Return the line of the aorta, from its root over the arch down beside the spine."""
    broad, deep, tall = anatomy.scale
    wide, low = 1.0 + 0.35 * anatomy.unfolding, -170.0
    knots = [
        (-8.0, -30.0, -35.0),
        (-15.0 * wide, -34.0, 5.0),
        (-9.0, -24.0, 30.0 + 6 * anatomy.unfolding),
        (8.0, -2.0, 40.0 + 8 * anatomy.unfolding),
        (21.0 * wide, 22.0, 31.0 + 6 * anatomy.unfolding),
        (23.0 * wide, 42.0, 2.0),
        (21.0 * wide, 46.0, -45.0),
        (17.0 * wide, 44.0, -100.0),
        (8.0, 36.0, low),
    ]
    line = curve(np.array(knots) * (broad, deep, tall), 12.0)
    line[:, 0] += anatomy.shift
    return line


def _body(anatomy: Anatomy, grid: Grid, cage: Cage) -> np.ndarray:
    """Return the density of trunk, shoulders, neck and breasts, without lungs."""
    broad, deep, tall = anatomy.scale
    below = (anatomy.apex - grid.z) / tall
    wall = anatomy.muscle + anatomy.fat
    shoulder = np.interp(
        below,
        (-80, -50, -30, -14, 2, 18, 38, 80, 120, 160, 200, 240),
        (60, 62, 72, 98, 140, 176, 193, 196, 190, 181, 170, 150),
    )
    width = np.maximum(_column(cage.width) + wall + 4.0, shoulder * broad + 0.6 * anatomy.fat).astype(np.float32)
    neck = np.interp(below, (-80, -30, 0, 30, 60, 120), (-40.0, -38.0, -40.0, -46.0, -54.0, -54.0)) * deep
    nape = np.interp(below, (-80, -30, 20, 60), (70.0, 74.0, 92.0, 101.0)) * deep
    front = np.minimum(_column(cage.front) - anatomy.muscle, neck) - anatomy.fat
    back = np.maximum(_column(cage.back) + 22.0, nape) + 0.9 * anatomy.fat
    belly = np.float32(max(anatomy.fat - 12.0, 0.0)) * np.clip((below - 230.0) / 90.0, 0.0, 1.0)
    middle, half = (front + back - belly) / 2, (back - front + belly) / 2
    middle, half = middle.astype(np.float32), half.astype(np.float32)
    outer = _rounded(grid.x, width, grid.y - middle, half, 2.5)
    skin = np.float32(anatomy.fat)
    inner = _rounded(grid.x, width - skin, grid.y - middle, half - skin, 2.5)
    outer *= _FAT
    inner *= _MUSCLE - _FAT
    outer += inner
    if anatomy.breast > 0:
        _breasts(outer, anatomy, grid, cage)
    return outer


def _breasts(density: np.ndarray, anatomy: Anatomy, grid: Grid, cage: Cage) -> None:
    draw = numpy_generator(anatomy.seed, 0, "breasts")
    broad, _, tall = anatomy.scale
    big = anatomy.breast
    sag = 0.5 * big + float(draw.uniform(0.0, 14.0))
    for sign in (-1.0, 1.0):
        x = sign * (76.0 + 0.35 * big) * broad + float(draw.normal(0.0, 3.0))
        z = anatomy.apex - (158.0 + sag) * tall
        index = int(np.argmin(np.abs(grid.z[:, 0, 0] - z)))
        y = float(cage.front[index]) - anatomy.muscle - 0.5 * anatomy.fat + 14.0
        wide, long = (54.0 + 0.5 * big) * broad, (50.0 + 0.7 * big) * tall
        deepness = 20.0 + 0.85 * big
        box = grid.box((x - wide - 9, y - deepness - 9, z - long - 9), (x + wide + 9, y + 10.0, z + 1.9 * long + 9))
        near = grid.part(box)
        # Fuller below than above: the lower border is what a frontal film shows.
        up = np.where(near.z > z, (near.z - z) / (1.8 * long), (near.z - z) / (0.8 * long))
        # A cap whose height falls off smoothly from its centre: no edge above, a rounded one below.
        flat = np.maximum(1.0 - ((near.x - x) / wide) ** 2 - up * up, 0.0)
        reach = np.float32(deepness) * flat ** np.where(near.z > z, 1.3, 0.75)
        soft = np.clip(np.float32(0.5) + (near.y - (np.float32(y) - reach)) / 5.0, 0.0, 1.0) * (near.y < y) * (flat > 0)
        np.maximum(density[box], soft * np.float32(0.97), out=density[box])


def voxelise(anatomy: Anatomy, grid: Grid) -> SoftTissue:
    """Paint a chest.

    Args:
        anatomy: numbers of the chest.
        grid: from `grid_of`.

    Returns:
        Voxels with normal, vessel-free lungs; findings are planted into them afterwards.
    """
    heights = grid.z[:, 0, 0]
    cage = cage_at(anatomy, heights)
    density = _body(anatomy, grid, cage)
    lung = rounded_inside(grid, cage)
    half = grid.shape[2] // 2
    for side, part in ((0, slice(0, half)), (1, slice(half, None))):
        surface = dome_height(anatomy, grid.x[:, :, part], grid.y, side).astype(np.float32)
        above = (grid.z - surface) * np.float32(1 / _EDGE) + np.float32(0.5)
        np.clip(above, 0.0, 1.0, out=above)
        lung[:, :, part] *= above

    lung *= np.clip(np.float32(0.5) + (np.float32(anatomy.apex + 4.0) - grid.z) / _EDGE, 0.0, 1.0)
    heart = np.zeros(grid.shape, np.float32)
    box = grid.box((-110.0, -165.0, -400.0), (150.0, 90.0, 400.0))
    near = grid.part(box)
    right, left = heart_borders(anatomy, heights)
    middle, depth = heart_depth(anatomy, heights)
    heart[box] = _rounded(
        near.x - _column((right + left) / 2), _column((left - right) / 2), near.y - _column(middle), _column(depth), 2.5
    )
    capsule(heart, grid, aorta_line(anatomy), 13.0 + 1.2 * anatomy.unfolding)

    center = grid.box((-36.0, -200.0, -400.0), (36.0, 200.0, 400.0))
    near = grid.part(center)
    before = near.y - _column(spine_y(anatomy, heights))
    before = np.where(before > 0, before * np.float32(0.38), before)  # arches and muscles reach far back
    spine = _rounded(near.x, _column(np.full(len(heights), 23.0)), before, _column(np.full(len(heights), 24.0)), 3.0)
    septum = np.clip(np.float32(0.5) + (np.float32(3.0) - np.abs(near.x - anatomy.shift)) / _EDGE, 0.0, 1.0)
    lung *= np.float32(1.0) - heart
    lung[center] *= (np.float32(1.0) - spine) * (np.float32(1.0) - septum)

    # Blood and water sink: the dependent lung is denser (downwards when upright, backwards when lying).
    slope = grid.y * np.float32(0.0022) if anatomy.supine else grid.z * np.float32(-0.0010)
    air = np.float32(anatomy.lung) * np.clip(np.float32(1.0) + slope, 0.6, 1.5)
    change = air - density
    change *= lung
    density += change
    _stomach(density, anatomy, grid)
    return SoftTissue(grid, density, lung, heart, cage)


def fill(tissue: SoftTissue, box: tuple[slice, slice, slice], share: np.ndarray, density: float) -> np.ndarray:
    """Replace a share of what the lung holds in a box by something else, in place.

    Args:
        tissue: to be changed.
        box: voxels (Z, Y, X).
        share: float32 like the box, 0 leaves the lung as it is, 1 replaces it.
        density: of what comes in, relative to water.

    Returns:
        The share within the lung, for the finding's mask.
    """
    lung, now = tissue.lung[box], tissue.density[box]
    wall = (np.float32(1.0) - lung) * _MUSCLE
    content = np.clip((now - wall) / np.maximum(lung, np.float32(0.1)), 0.0, 1.1)
    inside = share * lung
    tissue.density[box] = now + inside * (np.float32(density) - content)
    return inside


def rounded_inside(grid: Grid, cage: Cage) -> np.ndarray:
    """Return the soft inside (Z, Y, X) of a cage given at the grid's heights."""
    return _rounded(grid.x, _column(cage.width), grid.y - _column(cage.middle), _column(cage.half), cage.exponent)


def wall_distance(grid: Grid, cage: Cage) -> np.ndarray:
    """Return roughly how far each voxel (Z, Y, X) lies inside the ribs, mm; negative outside."""
    width, half = _column(np.maximum(cage.width, 1.0)), _column(np.maximum(cage.half, 1.0))
    power = np.float32(cage.exponent)
    radial = np.power(np.abs(grid.x) / width, power) + np.power(np.abs(grid.y - _column(cage.middle)) / half, power)
    return (np.float32(1.0) - np.power(radial, np.float32(1.0 / power))) * np.float32(0.5) * (width + half)


def noise(generator: np.random.Generator, grid: Grid, cell: float) -> np.ndarray:
    """Return smooth random values (Z, Y, X) with standard deviation near 1 and grains of about ``cell`` mm."""
    axes = (grid.z[:, 0, 0], grid.y[0, :, 0], grid.x[0, 0])
    counts = [int((axis[-1] - axis[0]) / cell) + 3 for axis in axes]
    field = generator.standard_normal(counts, np.float32) * np.float32(1.6)
    for i, axis in enumerate(axes):
        place = (axis - axis[0]) / np.float32(cell)
        first = place.astype(np.intp)
        t = place - first
        t = (t * t * (3 - 2 * t)).reshape([-1 if j == i else 1 for j in range(3)])
        field = field.take(first, i) * (1 - t) + field.take(first + 1, i) * t
    return field


def _stomach(density: np.ndarray, anatomy: Anatomy, grid: Grid) -> None:
    """Paint the gas bubble of the stomach, with a level when upright, and gas in the colon's flexure."""
    draw = numpy_generator(anatomy.seed, 1, "stomach")
    top = float(anatomy.domes[1])
    for chance, x, y, drop, size in (
        (0.85, 62.0, 5.0, 30.0, 27.0),
        (0.5, 98.0, -20.0, 62.0, 17.0),
        (0.35, 20.0, -45.0, 92.0, 18.0),
    ):
        present, jitter = draw.random() < chance, draw.normal(0.0, 6.0, 3)
        shape = size * draw.uniform(0.6, 1.25, 3)
        if not present:
            continue
        cx, cy, cz = x * anatomy.scale[0] + jitter[0], y + jitter[1], top - drop + jitter[2] * 0.5
        box = grid.box((cx - 40, cy - 40, cz - 40), (cx + 40, cy + 40, cz + 40))
        near = grid.part(box)
        radial = np.sqrt(
            ((near.x - cx) / shape[0]) ** 2 + ((near.y - cy) / shape[1]) ** 2 + ((near.z - cz) / (0.6 * shape[2])) ** 2
        )
        gas = np.clip(np.float32(0.5) + (1.0 - radial) * np.float32(size / _EDGE), 0.0, 1.0).astype(np.float32)
        if not anatomy.supine:
            gas *= np.clip((near.z - np.float32(cz - 0.25 * shape[2])) / _EDGE + 0.5, 0.0, 1.0)
        density[box] *= np.float32(1.0) - gas

"""Arteries, veins and airways of the lungs: trees that branch from the hila and taper to the pleura.

A vessel shows only where there is air around it: its excess over the tissue it lies in is looked up in the voxels, so
vessels vanish inside a consolidation by themselves, and airways show there (the air bronchogram).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.points import Cloud, curve, join, polyline, tubes
from medvlp.phantom.thorax import Anatomy, cage_at, dome_height
from medvlp.phantom.tissue import SoftTissue

_SHARES: Final = (0.30, 0.22, 0.17, 0.13, 0.10, 0.08)  # lengths of six generations on the way from hilum to pleura
# Where main branches end: share of the lung's height, angle from the side in degrees (negative is the front).
_PLAN: Final = np.array(
    ((0.97, 0.88, 0.84, 0.68, 0.62, 0.45, 0.42, 0.36, 0.2, 0.12, 0.1, 0.04, 0.0),
     (10, -45, 55, -25, 30, -60, 0, 50, -65, -30, 15, 50, 75))
).T  # fmt: skip
_TAPER: Final = 0.74  # calibre of a daughter vessel


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Segments of branching tubes: ends ``(S, 3)`` and radii ``(S,)`` in mm."""

    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray


def carina(anatomy: Anatomy) -> tuple[float, float, float]:
    """Return where the trachea divides, (x, y, z) in mm."""
    return 2.0 + 0.8 * anatomy.shift, 20.0 * anatomy.scale[1], 4.0 * anatomy.scale[2]


def hilum(anatomy: Anatomy, side: int) -> np.ndarray:
    """Return the middle of a hilum, float32 ``(3,)``; the left one stands higher."""
    broad, deep, tall = anatomy.scale
    place = (-42.0 * broad, 6.0 * deep, -24.0 * tall) if side == 0 else (44.0 * broad, 10.0 * deep, -13.0 * tall)
    return np.array([place[0] + 0.7 * anatomy.shift, place[1], place[2]], np.float32)


def _targets(anatomy: Anatomy, side: int, draw: np.random.Generator) -> np.ndarray:
    """Return points near the pleura, well spread over a lung, that the main branches grow to."""
    sign = 1.0 if side else -1.0
    top, floor = anatomy.apex, float(anatomy.domes[side])
    share, degrees = _PLAN.T
    z = floor + (top - floor) * (share + draw.normal(0.0, 0.02, len(share)))
    angle = np.radians(degrees + draw.normal(0.0, 8.0, len(share)))
    cage = cage_at(anatomy, z)
    x = sign * cage.width * 0.93 * np.cos(angle)
    y = cage.middle + cage.half * 0.9 * np.sin(angle)
    bottom = dome_height(anatomy, x, y, side) + 6.0
    return np.stack([x, y, np.where(share > 0.15, np.maximum(z, bottom), bottom)], 1).astype(np.float32)


def grow(anatomy: Anatomy, side: int, *, seed: int, radius: float, generations: int = 6) -> Tree:
    """Grow a tree from a hilum to the pleura.

    Args:
        anatomy: whose.
        side: 0 right, 1 left.
        seed: of this tree.
        radius: of the first branches, mm.
        generations: at most six.
    """
    draw = numpy_generator(seed, side, "phantom/tree")
    root = hilum(anatomy, side)
    target = _targets(anatomy, side, draw)
    start = np.repeat(root[None], len(target), 0) + draw.normal(0.0, 4.0, target.shape).astype(np.float32)
    start[:, 2] += np.clip(0.33 * (target[:, 2] - root[2]), -40.0, 16.0)  # they leave along the hilum's stem
    reach = np.sqrt(((target - start) ** 2).sum(1))
    calibre = (radius * (0.75 + 0.35 * np.minimum(reach / 130.0, 1.2))).astype(np.float32)
    aim = target
    starts, ends, radii = [], [], []
    direction = (target - start) / reach[:, None]
    for level in range(generations):
        end = start + direction * (reach * _SHARES[level])[:, None]
        end = end + draw.normal(0.0, 1.2, end.shape)
        starts.append(start)
        ends.append(end)
        radii.append(calibre)
        if level == generations - 1:
            break
        # Two daughters: one keeps on towards the target, one leaves at a wider angle to fill the space beside it.
        side_step = draw.normal(0.0, 1.0, (2, len(start), 3))
        side_step -= direction * (side_step * direction).sum(-1, keepdims=True)
        side_step /= np.sqrt((side_step**2).sum(-1, keepdims=True)) + 1e-6
        toward = aim - end
        toward /= np.sqrt((toward**2).sum(1, keepdims=True)) + 1e-6
        spread = (0.22 + 0.1 * draw.random(len(start)))[:, None], (0.6 + 0.45 * draw.random(len(start)))[:, None]
        first = toward + side_step[0] * spread[0]
        second = toward - side_step[0] * spread[1]
        direction = np.concatenate([first, second])
        direction /= np.sqrt((direction**2).sum(1, keepdims=True))
        start = np.concatenate([end, end])
        left_over = reach * sum(_SHARES[level + 1 :])
        aim = start + direction * np.concatenate([left_over, left_over * 0.85])[:, None]
        reach = np.concatenate([reach, reach * 0.85])
        calibre = np.concatenate([calibre * np.float32(_TAPER + 0.08), calibre * np.float32(_TAPER - 0.06)])
    return Tree(
        np.concatenate(starts).astype(np.float32),
        np.concatenate(ends).astype(np.float32),
        np.concatenate(radii).astype(np.float32),
    )


def _stem(anatomy: Anatomy, side: int) -> Cloud:
    """Return the main and the descending pulmonary artery of a side, the bulk of the hilar shadow."""
    broad, deep, tall = anatomy.scale
    root = hilum(anatomy, side)
    if side == 0:
        knots = [(-14, -8, -16), (-34, -4, -16), (-47, 6, -34), (-54, 16, -62), (-58, 24, -88)]
    else:
        knots = [(18, -14, -8), (36, 2, -4), (46, 18, -16), (52, 26, -46), (58, 32, -80)]
    line = curve(np.array(knots) * (broad, deep, tall), 4.0)
    line[:, 0] += np.float32(root[0] - (-42.0 * broad if side == 0 else 44.0 * broad))
    radius = np.interp(np.linspace(0, 1, len(line)), (0, 0.4, 1.0), (10.5, 9.0, 4.2)).astype(np.float32)
    return polyline(line, radius, step=2.0, area=5.0)


def blood_cloud(anatomy: Anatomy, side: int) -> Cloud:
    """Return arteries and veins of one lung as full tubes; `excess` turns them into what they add to the voxels."""
    upper, lower = anatomy.vessel
    clouds = [_stem(anatomy, side)]
    for kind, radius in ((0, 4.0), (1, 3.4)):
        tree = grow(anatomy, side, seed=anatomy.seed + 11 * kind + 1, radius=radius)
        middle = (tree.start[:, 2] + tree.end[:, 2]) / 2
        share = np.clip((middle + 30.0) / 70.0 + 0.5, 0.0, 1.0)
        wide = (tree.radius * (lower + (upper - lower) * share)).astype(np.float32)
        clouds.append(tubes(tree.start, tree.end, wide, wide * np.float32(0.85), step=1.9, area=2.6))
    return join(clouds)


def main_airways(anatomy: Anatomy) -> Cloud:
    """Return the lumen of trachea, main and lobar bronchi as full tubes."""
    x, y, z = carina(anatomy)
    top = anatomy.apex + 60.0
    wide = 9.6 if anatomy.sex == "M" else 8.3
    trachea = curve(
        [(0.3 * x, 2.0, top), (0.6 * x, y - 12.0, anatomy.apex - 20.0), (x, y - 2.0, z + 14.0), (x, y, z)], 3.0
    )
    parts = [polyline(trachea, wide, step=1.6, area=2.6)]
    for side, lean in ((0, (-16.0, 2.0, -16.0)), (1, (20.0, 4.0, -14.0))):
        end = hilum(anatomy, side)
        middle = np.array([x, y, z], np.float32) + np.array(lean, np.float32)
        line = curve(np.stack([np.array([x, y, z], np.float32), middle, end]), 3.0)
        parts.append(polyline(line, np.linspace(6.6, 4.6, len(line)).astype(np.float32), step=1.8, area=3.0))
    return join(parts)


def airway_cloud(anatomy: Anatomy, side: int) -> Cloud:
    """Return the lumen of the smaller bronchi of one lung as full tubes."""
    tree = grow(anatomy, side, seed=anatomy.seed + 1, radius=2.9, generations=4)  # beside the arteries
    beside = np.array([2.5, 3.0, 2.5], np.float32)
    return tubes(
        tree.start + beside, tree.end + beside, tree.radius, tree.radius * np.float32(0.85), step=2.4, area=4.0
    )


def excess(cloud: Cloud, tissue: SoftTissue, density: float, *, within_lung: bool = False) -> Cloud:
    """Return what tubes filled with a material add to (or take from) the voxels in which they lie.

    Args:
        cloud: tubes.
        tissue: voxels.
        density: of what fills them, relative to water; 0 is air, which only ever takes away.
        within_lung: leave out what lies outside the pleural cavities.
    """
    place = tissue.grid.index(cloud.xyz)
    change = np.float32(density) - tissue.density.reshape(-1)[place]
    if within_lung:
        change *= tissue.lung.reshape(-1)[place]
    return cloud.scaled(np.minimum(change, 0.0) if density < 0.5 else np.maximum(change, 0.0))

"""Findings of the pleural space: fluid that seeks the lowest place, and air that seeks the highest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvlp.phantom.facts import Finding
from medvlp.phantom.points import Cloud
from medvlp.phantom.regions import Plant, region_of
from medvlp.phantom.thorax import Anatomy, Cage, cage_at, dome_height
from medvlp.phantom.tissue import SoftTissue, fill, rounded_inside, wall_distance

_FLUID = 1.015


def _recess(anatomy: Anatomy, side: int) -> float:
    """Return z of the lateral costophrenic recess."""
    sign = 1.0 if side else -1.0
    guess = np.array(float(anatomy.domes[side]) - 30.0)
    cage = cage_at(anatomy, guess)
    return float(dome_height(anatomy, sign * (cage.width - 3.0), cage.middle, side))


def plant_effusion(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, side: int) -> Plant:
    """Put fluid into a pleural cavity.

    Upright: up to ``size`` mm above the lateral costophrenic recess, higher along the wall (the meniscus). Lying: the
    fluid spreads behind the lung, thicker at the base, and veils it.
    """
    grid, size = tissue.grid, finding.size
    floor = _recess(anatomy, side)
    top = anatomy.apex + 6.0 if anatomy.supine else floor + 1.45 * size + 34.0
    rows = grid.box((0.0, 0.0, floor - 110.0), (0.0, 0.0, top))[0]
    box = (rows, *grid.side(side)[1:])
    near = grid.part(box)
    cage = Cage(tissue.cage.width[rows], tissue.cage.front[rows], tissue.cage.back[rows])
    if anatomy.supine:
        depth = 0.36 * size * np.clip(0.55 + 0.45 * (anatomy.apex - near.z) / (anatomy.apex - floor), 0.4, 1.0)
        away = cage.back.astype(np.float32).reshape(-1, 1, 1) - near.y
        share = np.clip(0.5 + (depth - away) / 8.0, 0.0, 1.0)
        low = np.clip(0.5 + (floor + 0.35 * size - near.z) / 12.0, 0.0, 1.0)
        share = np.maximum(share, low)
    else:
        distance = wall_distance(near, cage)
        rise = 8.0 + 0.22 * size
        level = np.float32(floor + size) + np.float32(rise) * (1.6 * np.exp(-np.maximum(distance, 0.0) / 14.0) - 0.35)
        share = np.clip(0.5 + (level - near.z) / 4.0, 0.0, 1.0)
        # The lung above is pressed together a little.
        haze = np.clip(1.0 - (near.z - level) / 30.0, 0.0, 1.0).astype(np.float32)
        fill(tissue, box, haze * np.float32(0.16), 0.9)
    inside = fill(tissue, box, share.astype(np.float32), _FLUID)
    return Plant(region_of(inside > 0.5, box))


@dataclass(frozen=True, slots=True, eq=False)
class Collapse:
    """How a pneumothorax shrinks its lung: the space inside the visceral pleura at some heights."""

    anatomy: Anatomy
    side: int
    size: float

    def _low(self, z: np.ndarray) -> np.ndarray:
        floor = float(self.anatomy.domes[self.side]) - 30.0
        share = np.clip((z - floor) / (self.anatomy.apex - floor), 0.0, 1.0)
        return share * share * (3.0 - 2.0 * share)

    def cage(self, z: np.ndarray) -> Cage:
        """Return the visceral pleura's outline at heights ``z``: ``size`` mm below the apex, nearer the wall below."""
        z = np.asarray(z, np.float64)
        weight = self._low(z)
        rim = 0.42 * self.size * np.sqrt(weight) * (0.35 + 0.65 * weight)
        inner = cage_at(self.anatomy, z + self.size * weight)
        return Cage(inner.width - rim, inner.front + 0.35 * rim, inner.back - 0.35 * rim)

    def moved(self, xyz: np.ndarray) -> np.ndarray:
        """Return where points ``(N, 3)`` of the expanded lung lie in the shrunken one."""
        z = xyz[:, 2]
        down = z - self.size * self._low(z)
        before, after = cage_at(self.anatomy, z), self.cage(down)
        ratio = np.clip(after.width / np.maximum(before.width, 1.0), 0.2, 1.0)
        deep = np.clip(after.half / np.maximum(before.half, 1.0), 0.2, 1.0)
        y = after.middle + (xyz[:, 1] - before.middle) * deep
        return np.stack([xyz[:, 0] * ratio, y, down], 1).astype(np.float32)


def _pleural_line(collapse: Collapse) -> Cloud:
    """Return the visceral pleura, a sheet of 1 mm, as points: seen edge-on it is the white line."""
    anatomy, side = collapse.anatomy, collapse.side
    sign = 1.0 if side else -1.0
    top = anatomy.apex - 0.97 * collapse.size
    z = np.arange(float(anatomy.domes[side]) - 10.0, top + 5.0, 1.7)
    cage = collapse.cage(z)
    turn = np.modf(np.arange(len(z)) * 0.6180339887)[0][:, None]  # staggered: no stripes where rows line up
    angle = np.radians(-86.0 + 172.0 / 64 * (np.arange(64)[None] + turn))
    power = 2.0 / cage.exponent
    width, half = cage.width[:, None], np.maximum(cage.half, 0.5)[:, None]
    x = sign * width * np.abs(np.cos(angle)) ** power
    y = cage.middle[:, None] + half * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    xyz = np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], -1)
    across = np.linalg.norm(np.gradient(xyz, axis=1), axis=-1)
    along = np.linalg.norm(np.gradient(xyz, axis=0), axis=-1)
    area = np.minimum(across * along, 25.0)
    keep = (np.abs(x) > 20.0) & (z[:, None] > dome_height(anatomy, x, y, side)) & (half > 2.0)
    return Cloud(xyz[keep].astype(np.float32), (area[keep] * 1.0).astype(np.float32))


def plant_pneumothorax(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, side: int) -> Plant:
    """Put air between chest wall and lung: ``size`` mm at the apex, thinning downwards; no vessels in it."""
    grid = tissue.grid
    rows = grid.box((0, 0, float(anatomy.domes[side]) - 60.0), (0, 0, anatomy.apex + 8.0))[0]
    box = (rows, *grid.side(side)[1:])
    near = grid.part(box)
    collapse = Collapse(anatomy, side, finding.size)
    inner = rounded_inside(near, collapse.cage(near.z[:, 0, 0]))
    inner *= np.clip(0.5 + (np.float32(anatomy.apex - 0.97 * finding.size + 2.0) - near.z) / 3.5, 0.0, 1.0)
    fill(tissue, box, np.full(inner.shape, np.float32(0.04 + 0.1 * finding.amount)) * inner, 0.9)
    inside = fill(tissue, box, np.float32(1.0) - inner, 0.001)
    region = region_of(inside > 0.5, box, depth=18.0)
    return Plant(region, soft=(_pleural_line(collapse),))

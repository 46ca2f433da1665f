"""Displaced rib fractures: the front fragment steps off the hind one, blood lifts the pleura beside it."""

from __future__ import annotations

import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.bones import Ribs, rib_cloud
from medvlp.phantom.facts import Finding
from medvlp.phantom.points import Cloud, join
from medvlp.phantom.regions import Plant, Region
from medvlp.phantom.rules import fractured_ribs
from medvlp.phantom.thorax import Anatomy
from medvlp.phantom.tissue import SoftTissue
from medvlp.phantom.vessels import excess


def _haematoma(place: np.ndarray, outward: np.ndarray, along: np.ndarray, thickness: float) -> Cloud:
    """Return a lens of blood between rib and pleura."""
    upward = np.cross(outward, along)
    u, v, w = np.meshgrid(np.linspace(-1, 1, 25), np.linspace(-1, 1, 17), np.linspace(0.1, 0.9, 4), indexing="ij")
    inside = u * u + v * v < 1.0
    u, v, w = u[inside], v[inside], w[inside]
    depth = thickness * (1.0 - u * u - v * v)
    length, height = 24.0, 15.0
    xyz = place + u[:, None] * length * along + v[:, None] * height * upward - (2.5 + w * depth)[:, None] * outward
    volume = np.pi * length * height * depth / max(len(u), 1)
    return Cloud(xyz.astype(np.float32), volume.astype(np.float32))


def plant_rib_fracture(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, ribs: Ribs, side: int) -> Plant:
    """Break neighbouring ribs: ``size`` mm of step, a gap of 2 to 3 mm, the fragment hinged at its front end."""
    draw = numpy_generator(finding.seed, side, "fracture")
    # Behind, where a frontal film shows the rib in full; breaks at its lateral turn are mostly missed on films.
    where = draw.uniform(0.09, 0.24)
    up = 1.0 if draw.random() < 0.6 else -1.0
    bones, lenses, marks = [], [], []
    for i, number in enumerate(fractured_ribs(finding)):
        rib = ribs.one(side, number)
        count = len(rib.line)
        t = np.linspace(0.0, 1.0, count)
        at = float(where + draw.normal(0.0, 0.015))
        step = finding.size * (1.0 if i == 0 else float(draw.uniform(0.6, 1.0)))
        first = int(at * count)
        gap = 1 if draw.random() < 0.5 else 2
        share = np.where(t > at, np.maximum(1.0 - (t - at) / 0.42, 0.0), 0.0)[:, None]
        back = np.where(t <= at, np.maximum(1.0 - (at - t) / 0.16, 0.0), 0.0)[:, None]
        move = rib.upward * np.float32(0.88 * up * step) - rib.outward * np.float32(0.4 * step)
        line = rib.line + (share * move - 0.12 * back * move).astype(np.float32)
        moved = Ribs(line, rib.outward, rib.upward)
        for part in (slice(0, first), slice(first + gap, count)):
            bones.append(rib_cloud(moved, density=anatomy.bone, part=part))
        along = rib.line[min(first + 3, count - 1)] - rib.line[first - 3]
        along = along / np.sqrt((along**2).sum())
        lenses.append(_haematoma(rib.line[first], rib.outward[first], along, float(np.clip(0.75 * step, 4.0, 9.0))))
        marks.append(line[max(first - 7, 0) : first + gap + 8])
    blood = excess(join(lenses), tissue, 1.05)
    region = Region(points=np.concatenate(marks), reach=8.0)
    return Plant(region, soft=(blood,), bone=tuple(bones))

"""Ribs, spine, clavicles, scapulae, sternum and humeral heads as clouds of bone.

Each point stands for some mm3 of cortical bone in the place of soft tissue; a rib is a shell of cortex around a thin
lattice, which gives the bright edges that a radiograph shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.points import Cloud, curve, join, polyline
from medvlp.phantom.thorax import Anatomy, cage_at, spine_y

RIBS: Final = 12
SLENDER: Final = np.array([0.9, 0.95, 1, 1, 1, 1, 1, 1, 1, 1, 0.85, 0.75])
"""Relative height of each rib."""

_SAMPLES: Final = 168  # along a rib, about 1.8 mm apart
_RING: Final = 22  # around its cortex
_CORE: Final = 10  # in its marrow
_BODY: Final = 17.0  # height of the template vertebra's body in mm

# One value a rib: end of its bone (degrees from the back's midline), fall from spine to front in mm, lateral reach.
_END: Final = np.radians([142, 146, 147, 147, 147, 145, 142, 134, 125, 114, 88, 62])
_FALL: Final = np.array([48, 74, 94, 106, 114, 119, 121, 119, 113, 104, 84, 60], np.float64)
_REACH: Final = np.array([0.84, 0.97, 1, 1, 1, 1, 1, 1, 1, 1, 0.99, 0.98])


@dataclass(frozen=True, slots=True, eq=False)
class Ribs:
    """Lines of all ribs, float32 ``(2, 12, N, 3)`` (side 0 right, 1 left), or of one, ``(N, 3)``.

    ``outward`` points away from the lung, ``upward`` along the rib's height.
    """

    line: np.ndarray
    outward: np.ndarray
    upward: np.ndarray

    def one(self, side: int, number: int) -> Ribs:
        """Return a rib by side and number (1 to 12)."""
        index = (side, number - 1)
        return Ribs(self.line[index], self.outward[index], self.upward[index])


def vertebra_z(anatomy: Anatomy, number: float) -> float:
    """Return the z of a thoracic vertebra's centre: 1 is T1, 12 is T12, 0 is C7, 13 is L1."""
    n = number - 1.0
    return anatomy.apex - (3.0 + 20.4 * n + 0.28 * n * n) * anatomy.scale[2]


def rib_lines(anatomy: Anatomy) -> Ribs:
    """Return the middle lines of all ribs: from the spine round the cage, falling to the front."""
    draw = numpy_generator(anatomy.seed, 2, "ribs")
    # A breath raises the ribs: with low diaphragms they lie flatter. The two sides differ a little.
    steep = (1.0 + 0.05 * draw.standard_normal()) * (1.12 if anatomy.supine else 1.0) * (1.0 - 0.006 * anatomy.depth)
    jitter = draw.normal(0.0, 1.2, (2, RIBS))
    t = np.linspace(0.0, 1.0, _SAMPLES)
    angle = np.radians(9.0) + t * (_END[:, None] - np.radians(9.0))  # (12, N)
    fall = _FALL[:, None] * steep * anatomy.scale[2]
    # Level beside the spine, steep at the side, flatter again in front.
    sine, cosine = np.sin(angle), np.cos(angle)
    drop = fall * (0.68 * np.maximum(1.0 - np.maximum(cosine, 0.0), 0.0) ** 0.8 + 0.32 * np.maximum(-cosine, 0.0))
    start = np.array([vertebra_z(anatomy, n + 1.0) + 3.0 for n in range(RIBS)])[:, None]
    z = start - drop
    z = np.stack([z, z]) + jitter[:, :, None]
    cage = cage_at(anatomy, z)
    power = 2.0 / cage.exponent
    wide = (cage.width + 5.5) * _REACH[:, None]
    x = wide * np.abs(sine) ** power
    y = cage.middle + (cage.half + 5.5) * np.sign(cosine) * np.abs(cosine) ** power
    # The head of the rib leaves from beside the vertebra, in front of the gutter's back.
    near = np.exp(-((t * 14.0) ** 2))
    x = x * (1 - near) + np.maximum(x, 18.0 * anatomy.scale[0]) * near
    y = y * (1 - near) + (spine_y(anatomy, z) + 14.0) * near
    sign = np.array([-1.0, 1.0])[:, None, None]
    line = np.stack([sign * x, y, z], -1)
    radial = np.stack([sign * x / wide**2, (y - cage.middle) / cage.half**2, np.zeros_like(x)], -1)
    tangent = np.gradient(line, axis=2)
    tangent /= np.sqrt((tangent**2).sum(-1, keepdims=True))
    radial -= tangent * (radial * tangent).sum(-1, keepdims=True)
    radial /= np.sqrt((radial**2).sum(-1, keepdims=True))
    up = np.cross(tangent, radial)
    up *= np.sign(up[..., 2:3] + 1e-9)
    return Ribs(line.astype(np.float32), radial.astype(np.float32), up.astype(np.float32))


def rib_cloud(rib: Ribs, *, density: float, part: slice = slice(None), slender: np.ndarray | float = 1.0) -> Cloud:
    """Return ribs as a shell of cortex around a thin lattice.

    Behind they are narrow with a thick cortex, at the side and in front broader and thinner.

    Args:
        rib: one rib or several.
        density: relative density of the bone.
        part: which of the samples along the rib.
        slender: relative height of each rib, broadcasts with the ribs' leading axes.
    """
    along = np.linspace(0.0, 1.0, rib.line.shape[-2], dtype=np.float32)[part]
    line, outward, upward = (array[..., part, :] for array in (rib.line, rib.outward, rib.upward))
    height = np.interp(along, (0.0, 0.3, 0.6, 1.0), (0.67, 0.71, 0.9, 0.88)) * np.asarray(slender)[..., None]
    cortex = np.interp(along, (0.0, 0.3, 0.6, 1.0), (1.4, 1.35, 1.0, 0.62)).astype(np.float32)[:, None]
    step = np.sqrt((np.diff(line, axis=-2) ** 2).sum(-1))
    step = np.concatenate([step, step[..., -1:]], -1)  # (..., N)
    count = int(np.prod(step.shape))
    turn = (np.arange(count, dtype=np.float32) * np.float32(2.399963)).reshape(step.shape)[..., None]
    angle = turn + np.arange(_RING, dtype=np.float32) * np.float32(2 * np.pi / _RING)
    size = np.broadcast_to(height.astype(np.float32), step.shape)[..., None]
    tall, thick = np.float32(7.2) * size, np.float32(3.4) * size
    shell_out, shell_up = thick * np.cos(angle), tall * np.sin(angle)
    # Cortex of even thickness: the flat faces hold more of it than the rounded margins.
    around = np.sqrt((3.4 * np.sin(angle)) ** 2 + (7.2 * np.cos(angle)) ** 2) * np.float32(2 * np.pi / _RING)
    share = around * step[..., None] * size * cortex * np.float32(1.05 * density)
    spread = (np.arange(_CORE, dtype=np.float32) + np.float32(0.5)) / np.float32(_CORE)
    core_angle = turn + np.arange(_CORE, dtype=np.float32) * np.float32(2.399963)
    core_out = thick * np.sqrt(spread) * np.float32(0.85) * np.cos(core_angle)
    core_up = tall * np.sqrt(spread) * np.float32(0.85) * np.sin(core_angle)
    core = np.broadcast_to(step[..., None] * size * cortex * np.float32(14.0 / _CORE * density), core_out.shape)
    out = np.concatenate([shell_out, core_out], -1)[..., None]
    up = np.concatenate([shell_up, core_up], -1)[..., None]
    xyz = line[..., None, :] + out * outward[..., None, :] + up * upward[..., None, :]
    return Cloud(
        xyz.reshape(-1, 3).astype(np.float32), np.concatenate([share, core], -1).reshape(-1).astype(np.float32)
    )


def _plate(corners: Sequence[Sequence[float]], thickness: float, spacing: float, bulge: Sequence[float]) -> Cloud:
    """Return a triangular plate, bulging along a vector in its middle."""
    a, b, c = (np.asarray(corner, np.float64) for corner in corners)
    n = max(int(max(np.linalg.norm(b - a), np.linalg.norm(c - a)) / spacing), 2)
    u, v = np.meshgrid((np.arange(n) + 0.5) / n, (np.arange(n) + 0.5) / n)
    inside = u + v <= 1.0
    u, v = u[inside][:, None], v[inside][:, None]
    xyz = a + u * (b - a) + v * (c - a) + np.asarray(bulge) * (27 * u * v * (1 - u - v))
    area = 0.5 * float(np.linalg.norm(np.cross(b - a, c - a)))
    return Cloud(xyz.astype(np.float32), np.full(len(xyz), area * thickness / len(xyz), np.float32))


def _scapula(anatomy: Anatomy, sign: float) -> list[Cloud]:
    """Return a scapula; arms held forward (upright) rotate it off the lung, lying arms leave it over the lung."""
    broad, deep, tall = anatomy.scale
    out = -14.0 if anatomy.supine else 12.0
    top = anatomy.apex

    def at(x: float, y: float, below: float) -> tuple[float, float, float]:
        return (sign * (x * broad + out), (y + 12.0) * deep, top - below * tall)

    superior, inferior, glenoid = at(88, 78, 4), at(120, 92, 152), at(160, 36, 36)
    acromion, medial = at(176, 26, 10), at(92, 92, 46)
    density = anatomy.bone
    parts = [
        _plate((superior, inferior, glenoid), 2.2, 2.6, (0.0, 9.0, 0.0)),
        polyline(curve([glenoid, at(142, 74, 92), inferior], 3.0), 3.6, step=2.0, hollow=0.6),
        polyline(curve([superior, at(93, 92, 76), inferior], 3.0), 2.2, step=2.0, hollow=0.5),
        polyline(curve([medial, at(130, 84, 22), acromion], 3.0), 4.2, step=2.0, hollow=0.72),
        polyline(curve([superior, at(135, 52, 20), at(150, 18, 28)], 3.0), 3.4, step=2.0, hollow=0.6),
        polyline(curve([at(162, 36, 20), glenoid, at(160, 36, 54)], 2.0), 7.0, step=2.0, hollow=0.82),
    ]
    return [part.scaled(density) for part in parts]


def humeri(anatomy: Anatomy) -> Cloud:
    """Return the bones of arms that hang beside the chest; only frontal films show them."""
    broad, deep, tall = anatomy.scale
    out = -8.0 if anatomy.supine else 12.0
    reach = 146.0 * broad + anatomy.muscle + anatomy.fat + 52.0
    parts = []
    for sign in (-1.0, 1.0):
        head = (sign * (180.0 * broad + out), 42.0 * deep, anatomy.apex - 38.0 * tall)
        neck = (sign * (190.0 * broad + out), 42.0 * deep, anatomy.apex - 66.0 * tall)
        elbow = (sign * (reach + (16.0 if anatomy.supine else 52.0)), 40.0 * deep, anatomy.apex - 330.0 * tall)
        line = curve([head, neck, elbow], 4.0)
        radius = np.interp(np.arange(len(line)), (0, 1, 4, 8, 14), (9.0, 20.0, 21.0, 15.0, 11.0)).astype(np.float32)
        parts.append(polyline(line, radius, step=2.6, hollow=0.78, area=4.0))
    return join(parts).scaled(0.8 * anatomy.bone)


@cache
def _vertebra() -> Cloud:
    """Return a mid-thoracic vertebra around its body's centre: cortex, end plates, pedicles, arch and processes."""
    width, depth, height = 16.0, 12.5, _BODY
    parts = []
    turn = np.linspace(0, 2 * np.pi, 33)[:, None]
    for level, waist in ((-0.5, 1.0), (-0.25, 0.93), (0.0, 0.9), (0.25, 0.93), (0.5, 1.0)):
        ring = np.concatenate(
            [width * waist * np.cos(turn), depth * waist * np.sin(turn), np.full_like(turn, level * height)], 1
        )
        parts.append(polyline(ring.astype(np.float32), 1.1, step=2.6, area=9.0))
    radius = np.sqrt((np.arange(140) + 0.5) / 140)[:, None]
    spiral = (np.arange(140) * 2.399963)[:, None]
    for level in (-0.5, 0.5):
        disc = np.concatenate(
            [width * radius * np.cos(spiral), depth * radius * np.sin(spiral), np.full_like(radius, level * height)], 1
        )
        parts.append(Cloud(disc.astype(np.float32), np.full(140, np.pi * width * depth * 0.8 / 140, np.float32)))
    draw = np.random.Generator(np.random.Philox(7)).uniform(-0.5, 0.5, (280, 3))
    lattice = draw * (1.5 * width, 1.5 * depth, height)
    parts.append(
        Cloud(lattice.astype(np.float32), np.full(280, np.pi * width * depth * height * 0.11 / 280, np.float32))
    )
    for sign in (-1.0, 1.0):
        root = (sign * 0.62 * width, 1.5 * depth, 0.2 * height)
        pedicle = [(sign * 0.62 * width, 0.8 * depth, 0.2 * height), root]
        process = [root, (sign * 1.75 * width, 1.9 * depth, 0.32 * height)]
        lamina = [(sign * 0.62 * width, 1.5 * depth, 0.0), (0.0, 2.2 * depth, -0.3 * height)]
        drawn = ((pedicle, 4.6, 0.65, 4.0), (process, 4.0, 0.7, 4.0), (lamina, 3.0, 0.8, 2.5))
        for knots, wide, hollow, area in drawn:
            parts.append(polyline(curve(knots, 3.0), wide, step=2.0, hollow=hollow, area=area))
    spinous = curve([(0, 2.2 * depth, -0.3 * height), (0, 3.4 * depth, -1.1 * height)], 3.0)
    parts.append(polyline(spinous, 2.2, step=2.0, hollow=0.75, area=2.5))
    return join(parts)


def _spine(anatomy: Anatomy) -> Cloud:
    template = _vertebra()
    pieces = []
    for number in range(-4, 18):
        thoracic = max(number, 1)  # those of the neck are as high as the first one
        z = vertebra_z(anatomy, thoracic) + (thoracic - number) * 17.0 * anatomy.scale[2]
        height = (vertebra_z(anatomy, thoracic) - vertebra_z(anatomy, thoracic + 1)) * 0.76
        size = float(np.interp(number, (-4, 1, 12, 15), (0.72, 0.86, 1.2, 1.3))) * anatomy.scale[0]
        place = np.array([0.0, float(spine_y(anatomy, np.array(z))), z], np.float32)
        xyz = template.xyz * np.array([size, size, height / _BODY], np.float32) + place
        pieces.append(Cloud(xyz.astype(np.float32), template.volume * np.float32(size * size)))
    return join(pieces)


def skeleton(anatomy: Anatomy) -> Cloud:
    """Return everything of bone but ribs and arms."""
    broad, deep, tall = anatomy.scale
    draw = numpy_generator(anatomy.seed, 3, "skeleton")
    density = anatomy.bone
    lift = float(draw.normal(0.0, 5.0)) + (8.0 if anatomy.supine else 0.0)
    parts = [_spine(anatomy).scaled(0.5 * density)]
    for sign in (-1.0, 1.0):
        height = lift + float(draw.normal(0.0, 2.0))
        knots = np.array([(18, -58, 38), (52, -62, 28), (92, -40, 20), (134, -6, 14), (170, 16, 4)], np.float64)
        line = curve(
            [(sign * x * broad, y * deep, anatomy.apex - below * tall + height * x / 170) for x, y, below in knots], 2.0
        )
        radius = np.interp(np.linspace(0, 1, len(line)), (0, 0.1, 0.5, 1.0), (10.5, 7.8, 6.2, 7.4)).astype(np.float32)
        parts.append(polyline(line, radius, step=1.8, hollow=0.72, area=2.2).scaled(density))
        parts += _scapula(anatomy, sign)
    levels = anatomy.apex - np.array([44.0, 80.0, 130.0, 185.0]) * tall
    cage = cage_at(anatomy, levels)
    for depth in (-12.0, -3.0):
        line = curve(np.stack([np.zeros(4), cage.front + depth, levels], 1), 2.5)
        width = np.interp(np.linspace(0, 1, len(line)), (0, 0.2, 0.32, 0.8, 1.0), (26.0, 20.0, 13.0, 18.0, 8.0)) * broad
        across = np.linspace(-1.0, 1.0, 15)
        xyz = np.repeat(line[:, None, :], 15, 1)
        xyz[:, :, 0] += (width[:, None] * across).astype(np.float32)
        share = np.repeat((width * 2 * 2.5 * 0.9 * density / 15)[:, None], 15, 1)
        parts.append(Cloud(xyz.reshape(-1, 3), share.reshape(-1).astype(np.float32)))
    return join(parts)

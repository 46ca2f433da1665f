"""Findings of the lung itself: consolidation, nodule, oedema, atelectasis, emphysema."""

from __future__ import annotations

import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.facts import Finding, Lobe
from medvlp.phantom.points import Cloud, ball, tubes
from medvlp.phantom.regions import Plant, Region, region_of
from medvlp.phantom.thorax import Anatomy, Cage, cage_at, heart_borders
from medvlp.phantom.tissue import Grid, SoftTissue, fill, noise, wall_distance
from medvlp.phantom.vessels import grow, hilum


def lobe_share(anatomy: Anatomy, grid: Grid, side: int, lobe: Lobe) -> np.ndarray:
    """Return the share of each voxel (broadcasts to Z, Y, X) on a lobe's side of the fissures.

    The oblique fissure falls from high behind to low in front; the right lung's minor fissure is level with the hilum.
    An empty lobe is the whole lung.
    """
    if not lobe:
        return np.ones((1, 1, 1), np.float32)
    deep, tall = anatomy.scale[1:]
    front, back = float(anatomy.domes[side]) - 4.0, 44.0 * tall
    slope = (back - front) / (158.0 * deep)
    oblique = np.float32(back) + (grid.y - np.float32(82.0 * deep)) * np.float32(slope)
    above = np.clip(0.5 + (grid.z - oblique) / 4.0, 0.0, 1.0)
    if lobe == "lower":
        return 1.0 - above
    minor = np.clip(0.5 + (grid.z - np.float32(float(hilum(anatomy, 0)[2]) - 2.0)) / 4.0, 0.0, 1.0)
    if side == 0:
        return above * minor if lobe == "upper" else above * (1.0 - minor)
    return above if lobe == "upper" else above * (1.0 - minor)  # "middle" on the left is the lingula


def _center(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, side: int, margin: float) -> np.ndarray:
    """Return a place (x, y, z) in the lobe that keeps a margin in mm to the ribs.

    Neither heart, hilum nor diaphragm hides it on a frontal film, as a report implies.
    """
    draw = numpy_generator(finding.seed, side, "place")
    box = tissue.grid.side(side)
    near = tissue.grid.part(box)
    lobe = np.broadcast_to(lobe_share(anatomy, near, side, finding.lobe), tissue.lung[box].shape)
    allowed = (tissue.lung[box] > 0.95) & (lobe > 0.9)
    heights = near.z[:, 0, 0]
    right, left = heart_borders(anatomy, heights)
    edge = (left if side else -right) + 0.5 * margin + 4.0
    root = hilum(anatomy, side)
    allowed &= (near.x - root[0]) ** 2 + (near.z - root[2]) ** 2 > np.float32((26.0 + 0.5 * margin) ** 2)
    allowed &= np.abs(near.x) > np.maximum(edge, 34.0).astype(np.float32).reshape(-1, 1, 1)
    allowed &= near.z > np.float32(float(anatomy.domes[side]) + 0.4 * margin)
    roomy = allowed & (wall_distance(near, tissue.cage) > margin)
    for candidate in (roomy, allowed, tissue.lung[box] > 0.5):
        places = np.flatnonzero(candidate)
        if len(places):
            break
    else:
        return hilum(anatomy, side)
    # Two draws out of a fixed order: the place moves little when the lung changes little between studies.
    z, y, x = np.unravel_index(int(places[int(draw.random() * len(places))]), candidate.shape)
    return np.array([near.x[0, 0, x], near.y[0, y, 0], near.z[z, 0, 0]], np.float32)


def plant_consolidation(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, side: int) -> Plant:
    """Fill air spaces over ``size`` mm of a lobe: fuzzy border, sharp where a fissure stops it; airways stay open."""
    radius = finding.size / 2
    center = _center(finding, anatomy, tissue, side, min(0.45 * radius, 22.0))
    reach = 1.35 * radius + 4.0
    low, high = center - reach, center + reach
    box = tissue.grid.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    near = tissue.grid.part(box)
    draw = numpy_generator(finding.seed, side, "shape")
    stretch = draw.uniform(0.85, 1.18, 3)
    distance = np.sqrt(
        ((near.x - center[0]) / stretch[0]) ** 2
        + ((near.y - center[1]) / stretch[1]) ** 2
        + ((near.z - center[2]) / stretch[2]) ** 2
    ) / np.float32(radius)
    field = 1.0 - distance + np.float32(0.16) * noise(draw, near, 14.0) + np.float32(0.07) * noise(draw, near, 7.0)
    share = np.clip(field * 2.4 + 0.5, 0.0, 1.0) * lobe_share(anatomy, near, side, finding.lobe)
    side_only = (near.x > 0) if side else (near.x < 0)
    opacity = np.float32(0.76 + 0.2 * min(finding.amount * 1.6, 1.0))
    inside = fill(tissue, box, (share * opacity * side_only).astype(np.float32), 1.03)
    return Plant(region_of(inside > 0.3, box))


def plant_nodule(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, side: int) -> Plant:
    """Put a solid, slightly lobulated nodule of ``size`` mm diameter into a lobe."""
    radius = finding.size / 2
    center = _center(finding, anatomy, tissue, side, radius + 5.0)
    draw = numpy_generator(finding.seed, side, "shape")
    xyz = ball(center, radius * 1.15, max(radius / 9.0, 0.9)) - center
    length = np.sqrt((xyz**2).sum(1)) + 1e-6
    bumps = np.zeros(len(xyz), np.float32)
    for _ in range(5):
        axis = draw.standard_normal(3)
        axis /= np.sqrt((axis**2).sum())
        bumps += np.maximum((xyz / length[:, None]) @ axis.astype(np.float32), 0.0) ** 4
    xyz = xyz[length < radius * (0.93 + 0.09 * bumps)]
    volume = np.float32(np.pi / 6 * finding.size**3 / len(xyz))
    solid = Cloud((xyz + center).astype(np.float32), np.full(len(xyz), volume, np.float32))
    return Plant(Region(points=solid.xyz, reach=0.0), soft=(solid,))


def plant_edema(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, side: int) -> Plant:
    """Fill interstitium, then the air spaces around the hilum; Kerley lines at the base (vessels: see `thorax`)."""
    amount = finding.amount
    box = tissue.grid.side(side)
    near = tissue.grid.part(box)
    draw = numpy_generator(finding.seed, side, "shape")
    root = hilum(anatomy, side)
    away = ((near.x - root[0]) / 62.0) ** 2 + ((near.y - root[1]) / 75.0) ** 2 + ((near.z - root[2] + 14.0) / 78.0) ** 2
    wing = np.exp(-away) * np.float32(0.08 + 0.6 * amount**1.5) * (1.0 + 0.38 * noise(draw, near, 20.0))
    base = np.float32(0.02 + 0.15 * amount) * np.clip((20.0 - near.z) / 120.0, 0.15, 1.0)
    share = np.clip(wing + base * (1.0 + 0.3 * noise(draw, near, 9.0)), 0.0, 0.85).astype(np.float32)
    inside = fill(tissue, box, share, 1.0)
    sign = 1.0 if side else -1.0
    count = int(8 + 22 * amount)
    z = float(anatomy.domes[side]) + draw.uniform(-22.0, 62.0, count)
    cage = cage_at(anatomy, z)
    angle = np.radians(draw.uniform(-50.0, 50.0, count))
    x = sign * (cage.width - 1.0) * np.cos(angle) ** 0.83
    y = cage.middle + cage.half * np.sign(angle) * np.abs(np.sin(angle)) ** 0.83
    start = np.stack([x, y, z], 1).astype(np.float32)
    length = draw.uniform(12.0, 24.0, count)[:, None]
    inward = np.stack([-sign * np.cos(angle), -0.7 * np.sin(angle), draw.normal(0, 0.08, count)], 1)
    septa = tubes(
        start, (start + inward * length).astype(np.float32), np.full(count, 0.9), np.full(count, 0.6), step=1.5
    )
    tree = grow(anatomy, side, seed=anatomy.seed + 1, radius=2.9, generations=3)
    beside = np.array([2.5, 3.0, 2.5], np.float32)
    cuffs = tubes(
        tree.start + beside, tree.end + beside, tree.radius + 1.4, tree.radius + 0.8, step=2.4, area=4.0, hollow=0.7
    )
    return Plant(region_of(inside > 0.16, box), soft=(septa, cuffs.scaled(0.4 * amount)))


def plant_atelectasis(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, side: int) -> Plant:
    """Take air out of a part of a lobe: plates of ``size`` mm (amount below 0.5), or a whole collapsed lobe."""
    planted = _collapsed_lobe if finding.amount >= 0.5 else _plates
    return planted(finding, anatomy, tissue, side)


def _plates(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, side: int) -> Plant:
    draw = numpy_generator(finding.seed, side, "plates")
    sign = 1.0 if side else -1.0
    floor = float(anatomy.domes[side])
    lift = {"upper": 110.0, "middle": 50.0}.get(finding.lobe, 20.0)
    clouds = []
    for i in range(1 + int(draw.random() < 0.6)):
        z = floor + lift + 17.0 * i + float(draw.uniform(-4.0, 8.0))
        x = sign * float(draw.uniform(72.0, 92.0)) * anatomy.scale[0]
        y = float(draw.uniform(-15.0, 25.0))
        long, deep = float(draw.uniform(32.0, 48.0)), float(draw.uniform(16.0, 28.0))
        tilt, back = float(draw.uniform(-0.1, 0.35)) * sign, float(draw.normal(0.0, 0.1))
        turn = float(draw.uniform(0.0, 6.0))
        count = int(long * deep * (2.0 + 0.5 * finding.size))
        u, v, w = draw.uniform(-1.0, 1.0, (3, count))
        inside = u * u + v * v < 1.0
        u, v, w = u[inside], v[inside], w[inside]
        # Thickest in the middle, irregular, fading towards its rim and its two faces.
        ragged = 1.0 + 0.35 * np.sin(9.0 * u + 6.0 * v + turn) * np.sin(5.0 * v - turn)
        thick = 0.5 * finding.size * np.sqrt(np.maximum(1.0 - u**4, 0.05)) * ragged
        height = z + tilt * long * u + back * deep * v - 0.004 * (long * u) ** 2 + thick * w
        weight = (1.0 - w * w) * np.minimum(3.0 * (1.0 - u * u - v * v), 1.0)
        xyz = np.stack([x + long * u, y + deep * v, height], 1)
        volume = 8.0 * long * deep * thick * weight / count
        clouds.append(Cloud(xyz.astype(np.float32), volume.astype(np.float32)))
    points = np.concatenate([cloud.xyz for cloud in clouds])
    inside_lung = tissue.lung.reshape(-1)[tissue.grid.index(points)] > 0.5
    return Plant(Region(points=points[inside_lung], reach=2.0), soft=tuple(clouds))


def _collapsed_lobe(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, side: int) -> Plant:
    box = tissue.grid.side(side)
    near = tissue.grid.part(box)
    root, outward = hilum(anatomy, side), np.abs(near.x)
    edge, strength = 5.0, np.float32(0.88)
    wide = 0.6 + 0.02 * finding.size
    floor, inner = float(anatomy.domes[side]), abs(float(root[0])) - 8.0
    if finding.lobe == "lower":
        # A wedge behind the heart along the spine, its border running from the hilum down and outwards.
        border = inner + (root[2] + 12.0 - near.z) * 0.36 * wide
        behind = near.y - (root[1] - 8.0 + (near.z - floor) * 0.12)
        inside = np.minimum(np.minimum(border - outward, behind), root[2] + 12.0 - near.z)
    elif finding.lobe == "middle" or (finding.lobe == "upper" and side == 1):
        # In front: a band along the heart (middle lobe), a veil without sharp border (left upper lobe).
        if finding.lobe == "middle":
            plane = root[2] - 8.0 - (root[1] - near.y) * 0.55
            inside = np.minimum(11.0 * wide - np.abs(near.z - plane), (inner + 52.0 * wide) - outward)
            inside = np.minimum(inside, root[1] + 4.0 - near.y)
        else:
            front = tissue.cage.front.astype(np.float32).reshape(-1, 1, 1)
            inside = np.minimum(front + 34.0 * wide - near.y, near.z - (root[2] - 62.0))
            edge, strength = 16.0, np.float32(0.75)
    else:
        # Right upper lobe: folded against mediastinum and apex, its lower border rising outwards from the hilum.
        out = np.maximum(outward - inner, 0.0)
        border = root[2] - 2.0 + out * (0.62 / wide) + 0.003 * out**2
        inside = near.z - border
    share = np.clip(0.5 + inside / np.float32(edge), 0.0, 1.0) * strength
    planted = fill(tissue, box, np.broadcast_to(share, tissue.lung[box].shape).astype(np.float32), 1.03)
    return Plant(region_of(planted > 0.3, box))


def plant_emphysema(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, side: int) -> Plant:
    """Destroy lung: bullae in the upper zones (shape of chest, diaphragm and vessels: see `thorax`)."""
    box = tissue.grid.side(side)
    draw = numpy_generator(finding.seed, side, "bullae")
    sign = 1.0 if side else -1.0
    for _ in range(int(2 + 5 * finding.amount)):
        z = anatomy.apex - float(draw.uniform(18.0, 90.0))
        cage: Cage = cage_at(anatomy, np.array(z))
        x = sign * float(draw.uniform(0.35, 0.85)) * float(cage.width)
        y = float(cage.middle) + float(draw.uniform(-0.5, 0.5)) * float(cage.half)
        radius = float(draw.uniform(10.0, 24.0))
        place = tissue.grid.box(
            (x - radius - 4, y - radius - 4, z - radius - 4), (x + radius + 4, y + radius + 4, z + radius + 4)
        )
        near = tissue.grid.part(place)
        distance = np.sqrt((near.x - x) ** 2 + (near.y - y) ** 2 + (near.z - z) ** 2)
        fill(tissue, place, np.clip(0.5 + (radius - distance) / 4.0, 0.0, 1.0).astype(np.float32), 0.02)
    return Plant(region_of(tissue.lung[box] > 0.5, box))

"""Devices: pacemaker, central venous line, endotracheal tube."""

from __future__ import annotations

import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.facts import Finding
from medvlp.phantom.points import Cloud, ball, curve, polyline
from medvlp.phantom.regions import Plant, Region
from medvlp.phantom.thorax import Anatomy, cage_at, heart_borders
from medvlp.phantom.tissue import SoftTissue
from medvlp.phantom.vessels import carina


def _border(anatomy: Anatomy, z: float, left: bool) -> float:
    borders = heart_borders(anatomy, np.array([z]))
    return float(borders[1 if left else 0][0])


def _caval(anatomy: Anatomy) -> list[tuple[float, float, float]]:
    """Return places along the superior vena cava, from above."""
    tall, deep = anatomy.scale[2], anatomy.scale[1]
    x = _border(anatomy, 10.0 * tall, False) + 8.0
    return [(x + 4.0, -20.0 * deep, 42.0 * tall), (x, -17.0 * deep, 14.0 * tall), (x, -14.0 * deep, -16.0 * tall)]


def plant_pacemaker(finding: Finding, anatomy: Anatomy, tissue: SoftTissue) -> Plant:
    """Put a generator under the skin below a clavicle, with leads through the caval vein to the right heart."""
    sign = 1.0 if finding.side == "left" else -1.0
    draw = numpy_generator(finding.seed, 0, "pacemaker")
    broad, deep, tall = anatomy.scale
    # In front of the axilla or below the clavicle, high or on the breast: no two pockets lie alike.
    x = sign * (98.0 + float(np.clip(draw.normal(0, 13), -28, 26))) * broad
    z = anatomy.apex - (70.0 + float(np.clip(draw.normal(0, 17), -24, 40))) * tall
    y = float(cage_at(anatomy, np.array(z)).front) - 0.55 * anatomy.muscle
    wide, high = float(draw.uniform(17.0, 25.0)), float(draw.uniform(16.0, 23.0))
    u, v = np.meshgrid(np.arange(-wide, wide, 0.9), np.arange(-high, high, 0.9))
    can = (np.abs(u / wide) ** 3.2 + np.abs(v / high) ** 3.2 < 1.0).ravel()
    u, v = u.ravel()[can], v.ravel()[can]
    turn = sign * float(draw.normal(0.15, 0.15))
    across, up = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
    box = np.stack([x + across, np.full_like(across, y), z + up], 1).astype(np.float32)
    thickness = np.where(
        v > 0.55 * high, 1.2, np.where((np.abs(v + 4) < 9) & (np.abs(u) < 14), 5.0, 3.6)
    )  # header, battery
    metal = [Cloud(box, (0.81 * thickness).astype(np.float32))]

    entry = (x - sign * 6.0, y + 2.0, z + high + 2.0)
    vein = [
        (sign * 72.0 * broad, -46.0 * deep, anatomy.apex - 24.0 * tall),
        (sign * 38.0 * broad, -38.0 * deep, anatomy.apex - 38.0 * tall),
    ]
    if sign > 0:
        vein.append((6.0, -32.0 * deep, 52.0 * tall))
    low = max(anatomy.domes)
    floor = low + 12.0
    atrium_z = 0.5 * (floor - 20.0 * tall)
    atrium = (_border(anatomy, atrium_z, False) + 13.0, -22.0 * deep, atrium_z)
    apex_x = 0.66 * _border(anatomy, floor, True)
    ventricle = [
        atrium,
        (0.5 * atrium[0], -38.0 * deep, floor + 6.0),
        (0.35 * apex_x, -52.0 * deep, floor - 5.0),
        (apex_x, -58.0 * deep, floor - 2.0),
    ]
    hook = [
        (atrium[0] + 3.0, -30.0 * deep, atrium_z - 14.0),
        (atrium[0] + 12.0, -42.0 * deep, atrium_z + 2.0),
        (atrium[0] + 9.0, -44.0 * deep, atrium_z + 18.0),
    ]
    lines = [curve([entry, *vein, *_caval(anatomy), *ventricle], 2.5)]
    if draw.random() < 0.75:
        shifted = [(a + 2.5, b, c) for a, b, c in (*vein, *_caval(anatomy), atrium)]
        lines.append(curve([entry, *shifted, *hook], 2.5))
    points = [box]
    for line in lines:
        metal.append(polyline(line, 1.05, step=0.9, area=4.0).scaled(0.85))
        for tip in (line[-1], line[-6]):
            lump = ball(tip, 1.9, 0.9)
            metal.append(Cloud(lump, np.full(len(lump), 28.0 / len(lump), np.float32)))
        points.append(line)
    return Plant(Region(points=np.concatenate(points), reach=2.5), metal=tuple(metal))


def _limbs(entry: np.ndarray, sign: float, draw: np.random.Generator) -> list[Cloud]:
    """Return what of a catheter lies on the skin: the hub beside its entry, and lumens that hang over the chest."""
    hub = entry + np.array([sign * draw.uniform(9.0, 18.0), -6.0, draw.uniform(-4.0, 12.0)])
    lump = ball(hub, 5.5, 1.1)
    clouds = [
        polyline(curve(np.stack([entry, hub]), 2.0), 1.5, step=0.9, area=6.0).scaled(0.3),
        Cloud(lump, np.full(len(lump), 150.0 / len(lump), np.float32)),
    ]
    for _ in range(int(draw.integers(2, 4))):
        reach, turn = float(draw.uniform(45.0, 95.0)), float(draw.normal(-0.5, 0.45))
        end = hub + reach * np.array([sign * np.cos(turn), -0.1, np.sin(turn)])
        middle = 0.5 * (hub + end) + np.array([0.0, 0.0, float(draw.normal(6.0, 9.0))])
        clouds.append(polyline(curve(np.stack([hub, middle, end]), 2.0), 1.5, step=0.9, area=6.0).scaled(0.25))
        tip = ball(end, 3.2, 1.0)
        clouds.append(Cloud(tip, np.full(len(tip), 45.0 / len(tip), np.float32)))
    return clouds


def plant_central_line(finding: Finding, anatomy: Anatomy, tissue: SoftTissue) -> Plant:
    """Put a catheter through the internal jugular or subclavian vein of a side, tip at the cavoatrial junction.

    Two of three are of 7 or 8 French (2.4 to 2.7 mm), the others dialysis catheters of 12 French (4 mm).
    """
    sign = 1.0 if finding.side == "left" else -1.0
    draw = numpy_generator(finding.seed, 0, "catheter")
    broad, deep, tall = anatomy.scale
    if draw.random() < 0.65:
        start = [
            (sign * 42.0 * broad, -24.0 * deep, anatomy.apex + float(draw.uniform(22.0, 48.0))),
            (sign * 32.0 * broad, -15.0 * deep, anatomy.apex + 8.0),
            (sign * 29.0 * broad, -26.0 * deep, anatomy.apex - 34.0 * tall),
        ]
    else:
        start = [
            (sign * float(draw.uniform(108.0, 128.0)) * broad, -62.0 * deep, anatomy.apex - 62.0 * tall),
            (sign * 84.0 * broad, -52.0 * deep, anatomy.apex - 28.0 * tall),
            (sign * 40.0 * broad, -38.0 * deep, anatomy.apex - 36.0 * tall),
        ]
    if sign > 0:
        start.append((4.0, -32.0 * deep, 54.0 * tall))
    caval = _caval(anatomy)
    tip = (caval[-1][0] + float(draw.normal(0, 2)), caval[-1][1], caval[-1][2] - float(draw.uniform(4.0, 26.0)))
    line = curve([*start, *caval, tip], 2.0)
    large = draw.random() < 1 / 3
    radius, density = (2.0, 0.45) if large else (float(draw.uniform(1.2, 1.35)), 0.55)
    catheter = polyline(line, radius, step=0.9, area=6.0).scaled(density)
    outside = _limbs(line[0].astype(np.float64), sign, draw)
    return Plant(Region(points=line, reach=3.0), metal=(catheter, *outside))


def plant_endotracheal_tube(finding: Finding, anatomy: Anatomy, tissue: SoftTissue) -> Plant:
    """Put a tube into the trachea, tip ``size`` mm above the carina, with its radio-opaque stripe."""
    x, y, z = carina(anatomy)
    draw = numpy_generator(finding.seed, 0, "tube")
    tip = z + finding.size
    lean = float(draw.normal(0.0, 1.5))
    top = anatomy.apex + 75.0
    share = (top - tip) / max(top - z, 1.0)
    knots = [
        (0.3 * x + lean, 2.0, top),
        (0.5 * x + lean, 2.0 + 0.5 * (y - 8.0) * share, 0.5 * (top + tip)),
        (0.85 * x, 2.0 + (y - 4.0) * share, tip),
    ]
    line = curve(knots, 2.0)
    wall = polyline(line, 5.2, step=1.2, area=1.6, hollow=0.74).scaled(2.3)
    stripe = polyline(line + np.array([3.6, -2.0, 0.0], np.float32), 1.0, step=0.8, area=4.0).scaled(0.9)
    return Plant(Region(points=line, reach=5.5), soft=(wall,), metal=(stripe,))

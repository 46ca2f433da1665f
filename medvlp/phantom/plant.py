"""Planting: every finding of a study into one chest, in the order in which they change each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.bones import Ribs, rib_cloud
from medvlp.phantom.facts import Finding
from medvlp.phantom.plant_device import plant_central_line, plant_endotracheal_tube, plant_pacemaker
from medvlp.phantom.plant_lung import plant_atelectasis, plant_consolidation, plant_edema, plant_emphysema, plant_nodule
from medvlp.phantom.plant_pleura import Collapse, plant_effusion, plant_pneumothorax
from medvlp.phantom.points import Cloud, join
from medvlp.phantom.regions import Plant, Region, region_of
from medvlp.phantom.rules import fractured_ribs
from medvlp.phantom.thorax import Anatomy
from medvlp.phantom.tissue import SoftTissue
from medvlp.phantom.vessels import excess

# Changes of the lung first, then what presses on it, then what lies in it, bones and devices.
_ORDER: Final = (
    "emphysema", "edema", "consolidation", "atelectasis", "pneumothorax", "effusion", "cardiomegaly", "nodule",
    "rib_fracture", "pacemaker", "central_line", "endotracheal_tube",
)  # fmt: skip
_SIDED: Final[dict[str, Callable[[Finding, Anatomy, SoftTissue, int], Plant]]] = {
    "emphysema": plant_emphysema,
    "edema": plant_edema,
    "consolidation": plant_consolidation,
    "atelectasis": plant_atelectasis,
    "pneumothorax": plant_pneumothorax,
    "effusion": plant_effusion,
    "nodule": plant_nodule,
}
_DEVICES: Final[dict[str, Callable[[Finding, Anatomy, SoftTissue], Plant]]] = {
    "pacemaker": plant_pacemaker,
    "central_line": plant_central_line,
    "endotracheal_tube": plant_endotracheal_tube,
}
_ADDED: Final = {"nodule": 1.06, "atelectasis": 1.03, "edema": 1.05}  # density of fine structures put into the lung


@dataclass(frozen=True, slots=True, eq=False)
class Plants:
    """What all findings of a study leave behind.

    Attributes:
        regions: the extent of each finding, in the study's order.
        blood: vessels of the right and left lung as full tubes, moved with the lung.
        soft: fine soft structures as what they add to the voxels.
        bone: broken ribs.
        metal: devices.
    """

    regions: tuple[Region, ...]
    blood: list[Cloud]
    soft: list[Cloud]
    bone: list[Cloud]
    metal: list[Cloud]


def sides_of(finding: Finding) -> tuple[int, ...]:
    """Return on which sides a finding is planted, 0 right and 1 left."""
    return {"right": (0,), "left": (1,), "bilateral": (0, 1)}[finding.side]


def _union(parts: Sequence[Region], tissue: SoftTissue) -> Region:
    if len(parts) == 1:
        return parts[0]
    points = [part.points for part in parts if part.points is not None]
    mask = np.zeros(tissue.grid.shape, bool)
    for part in parts:
        if part.box is not None and part.voxels is not None:
            mask[part.box] |= part.voxels
    voxels = region_of(mask, depth=parts[0].depth)
    return replace(voxels, points=np.concatenate(points) if points else None, reach=parts[0].reach)


def _parts(finding: Finding, anatomy: Anatomy, tissue: SoftTissue, ribs: Ribs) -> list[Plant]:
    """Plant one finding: one part, or one a side."""
    if finding.name == "cardiomegaly":
        high = tissue.grid.z > np.float32(min(anatomy.domes) - 30.0)
        low = tissue.grid.z < np.float32(-18.0 * anatomy.scale[2])
        return [Plant(region_of((tissue.heart > 0.5) & low & high & (tissue.grid.y < 32.0)))]
    if finding.name in _DEVICES:
        return [_DEVICES[finding.name](finding, anatomy, tissue)]
    if finding.name == "rib_fracture":
        return [plant_rib_fracture(finding, anatomy, tissue, ribs, side) for side in sides_of(finding)]
    return [_SIDED[finding.name](finding, anatomy, tissue, side) for side in sides_of(finding)]


def plant(
    findings: tuple[Finding, ...], anatomy: Anatomy, tissue: SoftTissue, ribs: Ribs, blood: Sequence[Cloud]
) -> Plants:
    """Plant findings; the voxels are changed in place.

    Args:
        findings: of the study.
        anatomy: the chest, already shaped by `with_findings`.
        tissue: its voxels.
        ribs: its ribs.
        blood: vessels of the right and left lung as full tubes.
    """
    regions: dict[int, Region] = {}
    vessels, soft, bone, metal = list(blood), list[Cloud](), list[Cloud](), list[Cloud]()
    later: list[tuple[Cloud, float]] = []
    for index in sorted(range(len(findings)), key=lambda i: _ORDER.index(findings[i].name)):
        finding = findings[index]
        parts = _parts(finding, anatomy, tissue, ribs)
        regions[index] = _union([part.region for part in parts], tissue)
        for part in parts:
            if finding.name in _ADDED:
                later += [(cloud, _ADDED[finding.name]) for cloud in part.soft]
            else:
                soft += part.soft
            bone += part.bone
            metal += part.metal
        if finding.name == "pneumothorax":
            for side in sides_of(finding):
                moved = Collapse(anatomy, side, finding.size).moved(vessels[side].xyz)
                vessels[side] = Cloud(moved, vessels[side].volume)
    # Only now is it known what surrounds a nodule, a plate or a septum.
    soft += [excess(cloud, tissue, density) for cloud, density in later]
    return Plants(tuple(regions[i] for i in range(len(findings))), vessels, soft, bone, metal)


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

"""Planting: every finding of a study into one chest, in the order in which they change each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from medvlp.core.errors import DataError
from medvlp.phantom.bones import Ribs
from medvlp.phantom.facts import Finding
from medvlp.phantom.flesh import Flesh
from medvlp.phantom.plant_device import plant_central_line, plant_endotracheal_tube, plant_pacemaker
from medvlp.phantom.plant_lung import (
    plant_atelectasis,
    plant_consolidation,
    plant_edema,
    plant_emphysema,
    plant_nodule,
)
from medvlp.phantom.plant_pleura import collapse_of, plant_effusion, plant_pneumothorax
from medvlp.phantom.plant_rib import BrokenRib, plant_rib_fracture
from medvlp.phantom.points import Cloud
from medvlp.phantom.regions import Plant, Region, region_of
from medvlp.phantom.rules import finding_rule
from medvlp.phantom.thorax import Anatomy
from medvlp.phantom.vessels import excess

__all__ = ["Plants", "plant"]

# Changes of the lung first, then what presses on it, then what lies in it, bones and devices.
_ORDER: Final = (
    "emphysema",
    "edema",
    "consolidation",
    "atelectasis",
    "pneumothorax",
    "effusion",
    "cardiomegaly",
    "nodule",
    "rib_fracture",
    "pacemaker",
    "central_line",
    "endotracheal_tube",
)
_SIDED: Final[dict[str, Callable[[Finding, Anatomy, Flesh, int], Plant]]] = {
    "emphysema": plant_emphysema,
    "edema": plant_edema,
    "consolidation": plant_consolidation,
    "atelectasis": plant_atelectasis,
    "pneumothorax": plant_pneumothorax,
    "effusion": plant_effusion,
    "nodule": plant_nodule,
}
_DEVICES: Final[dict[str, Callable[[Finding, Anatomy, Flesh], Plant]]] = {
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
        broken: ribs that must not be drawn whole.
    """

    regions: tuple[Region, ...]
    blood: tuple[Cloud, ...]
    soft: tuple[Cloud, ...]
    bone: tuple[Cloud, ...]
    metal: tuple[Cloud, ...]
    broken: tuple[BrokenRib, ...]


def _sides(finding: Finding) -> tuple[int, ...]:
    known = {"right": (0,), "left": (1,), "bilateral": (0, 1)}
    if finding.side not in known:
        raise DataError(
            f"Finding {finding.name!r} has side {finding.side!r}, the phantom plants it right, left or bilateral: "
            f"give one of these."
        )
    return known[finding.side]


def _both(parts: Sequence[Region], flesh: Flesh) -> Region:
    """Return the union of the regions of two sides."""
    if len(parts) == 1:
        return parts[0]
    points = [part.points for part in parts if part.points is not None]
    mask = np.zeros(flesh.grid.shape, bool)
    for part in parts:
        if part.box is not None and part.voxels is not None:
            mask[part.box] |= part.voxels
    voxels = region_of(mask, depth=parts[0].depth)
    return Region(voxels.box, voxels.voxels, np.concatenate(points) if points else None, parts[0].reach, parts[0].depth)


def plant(findings: tuple[Finding, ...], anatomy: Anatomy, flesh: Flesh, ribs: Ribs, blood: Sequence[Cloud]) -> Plants:
    """Plant findings; the voxels are changed in place.

    Args:
        findings: of the study.
        anatomy: the chest, already shaped by `with_findings`.
        flesh: its voxels.
        ribs: its ribs.
        blood: vessels of the right and left lung as full tubes.

    Raises:
        DataError: if a name or side cannot be planted.
    """
    regions: dict[int, Region] = {}
    vessels = list(blood)
    soft: list[Cloud] = []
    bone: list[Cloud] = []
    metal: list[Cloud] = []
    broken: list[BrokenRib] = []
    later: list[tuple[Plant, float]] = []
    for finding in findings:
        finding_rule(finding.name)
    for index in sorted(range(len(findings)), key=lambda i: _ORDER.index(findings[i].name)):
        finding = findings[index]
        if finding.name == "cardiomegaly":
            high = flesh.grid.z > np.float32(min(anatomy.domes) - 30.0)
            low = flesh.grid.z < np.float32(-18.0 * anatomy.scale[2])
            regions[index] = region_of((flesh.heart > 0.5) & low & high & (flesh.grid.y < 32.0))
        elif finding.name in _DEVICES:
            part = _DEVICES[finding.name](finding, anatomy, flesh)
            regions[index] = part.region
            soft += part.soft
            metal += part.metal
        elif finding.name == "rib_fracture":
            parts = [plant_rib_fracture(finding, anatomy, flesh, ribs, side) for side in _sides(finding)]
            regions[index] = _both([part.region for part, _ in parts], flesh)
            for part, gone in parts:
                soft += part.soft
                bone += part.bone
                broken += gone
        else:
            plants = [_SIDED[finding.name](finding, anatomy, flesh, side) for side in _sides(finding)]
            regions[index] = _both([part.region for part in plants], flesh)
            if finding.name in _ADDED:
                later += [(part, _ADDED[finding.name]) for part in plants]
            else:
                soft += [cloud for part in plants for cloud in part.soft]
            if finding.name == "pneumothorax":
                for side in _sides(finding):
                    moved = collapse_of(finding, anatomy, side).moved(vessels[side].xyz)
                    vessels[side] = Cloud(moved, vessels[side].volume)
    # Only now is it known what surrounds a nodule, a plate or a septum.
    soft += [excess(cloud, flesh, density) for part, density in later for cloud in part.soft]
    return Plants(
        tuple(regions[i] for i in range(len(findings))),
        tuple(vessels),
        tuple(soft),
        tuple(bone),
        tuple(metal),
        tuple(broken),
    )

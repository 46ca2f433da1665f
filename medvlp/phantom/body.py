"""A study's body: one chest with its findings planted, from which every radiograph and CT of the study is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.bones import RIBS, SLENDER, Ribs, humeri, rib_cloud, rib_lines, skeleton
from medvlp.phantom.facts import Study
from medvlp.phantom.plant import plant, sides_of
from medvlp.phantom.points import Cloud, join
from medvlp.phantom.regions import Region
from medvlp.phantom.rules import fractured_ribs
from medvlp.phantom.thorax import Anatomy, anatomy_of, with_findings
from medvlp.phantom.tissue import Grid, grid_of, voxelise
from medvlp.phantom.vessels import airway_cloud, blood_cloud, excess, main_airways


@dataclass(frozen=True, slots=True)
class Pose:
    """How a patient stood (or lay) before the tube: no two films are centred alike.

    Attributes:
        across: mm by which the beam's centre lies off the midline, to the patient's left.
        up: mm by which it lies too high.
        field: size of the field against one that just holds the chest.
        roll: degrees by which the trunk leans in the picture, counterclockwise.
        yaw: degrees by which the trunk is turned about its long axis.
    """

    across: float
    up: float
    field: float
    roll: float
    yaw: float


@dataclass(frozen=True, eq=False)
class Body:
    """A chest to be looked at.

    Attributes:
        study: whose visit it is.
        anatomy: numbers of the chest, findings included.
        grid: voxel centres.
        density: float32 (Z, Y, X), soft tissue relative to water.
        lung: float32 (Z, Y, X), share of the voxel inside the pleural cavities.
        heart: float32 (Z, Y, X), share that is heart or great vessel.
        soft: fine soft structures, as what they add to the voxels.
        bone: bones, as cortical bone in the place of soft tissue.
        arms: bones of the hanging arms, which only frontal films show.
        metal: devices, as titanium.
        regions: extent of each of the study's findings.
        pose: how the patient stood before the tube.
    """

    study: Study
    anatomy: Anatomy
    grid: Grid
    density: np.ndarray
    lung: np.ndarray
    heart: np.ndarray
    soft: Cloud
    bone: Cloud
    arms: Cloud
    metal: Cloud
    regions: tuple[Region, ...]
    pose: Pose


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """The bones of a chest; read only, shared by a patient's studies."""

    ribs: Ribs
    cage: Cloud
    skeleton: Cloud
    arms: Cloud


@lru_cache(maxsize=4)
def _frame(anatomy: Anatomy) -> _Frame:
    ribs = rib_lines(anatomy)
    cage = rib_cloud(ribs, density=anatomy.bone, slender=SLENDER)
    return _Frame(ribs, cage, skeleton(anatomy), humeri(anatomy))


def _pose(study: Study, seed: int) -> Pose:
    draw = numpy_generator(seed, study.number, f"phantom/pose/{study.patient.id}")
    loose = 1.4 if "AP" in study.views else 1.0  # at the bedside nobody stands straight
    across, up, roll, yaw = (float(value) for value in np.clip(draw.standard_normal(4), -2.2, 2.2))
    return Pose(
        11.0 * loose * across, 15.0 * up, float(draw.uniform(0.98, 1.28)), 2.2 * loose * roll, 2.8 * loose * yaw
    )


def build_body(study: Study, *, seed: int) -> Body:
    """Build the chest of a study and plant its findings.

    The normal anatomy depends on (seed, patient) only, so a patient looks the same at every visit; a study with an AP
    view is taken lying at the bedside (shallow breath, arms down).

    Args:
        study: facts of the visit.
        seed: the cohort's seed.

    Returns:
        The body: deterministic, the same bytes on every run.

    Example:
        >>> from medvlp.phantom.facts import Patient
        >>> person = Patient("P000001", "F", 52, 164.0, 24.0, "train")
        >>> body = build_body(Study("S1", person, 0, "20200101", "A1", "north", "one", ("PA",), (), None), seed=0)
        >>> bool(0.05 < np.median(body.density[body.lung > 0.5]) < 0.3)
        True
    """
    supine = "AP" in study.views
    normal = anatomy_of(study.patient, seed=seed, supine=supine)
    anatomy = with_findings(normal, study.findings)
    grid = grid_of(normal)
    tissue = voxelise(anatomy, grid)
    # Of all findings only the barrel chest of emphysema moves bones.
    frame = _frame(replace(normal, depth=anatomy.depth))
    blood = [blood_cloud(anatomy, side) for side in (0, 1)]
    plants = plant(study.findings, anatomy, tissue, frame.ribs, blood)
    whole = np.ones((2, RIBS), bool)
    for finding in study.findings:
        if finding.name == "rib_fracture":
            whole[np.ix_(sides_of(finding), [number - 1 for number in fractured_ribs(finding)])] = False
    points = frame.cage.xyz.reshape(2, RIBS, -1, 3)[whole].reshape(-1, 3)
    cage = Cloud(points, frame.cage.volume.reshape(2, RIBS, -1)[whole].reshape(-1))
    soft = [excess(tree, tissue, 1.05) for tree in plants.blood]
    soft += [excess(airway_cloud(anatomy, side), tissue, 0.0, within_lung=True) for side in (0, 1)]
    soft += [excess(main_airways(anatomy), tissue, 0.0)]
    return Body(
        study=study,
        anatomy=anatomy,
        grid=grid,
        density=tissue.density,
        lung=tissue.lung,
        heart=tissue.heart,
        soft=join([*soft, *plants.soft]),
        bone=join([cage, frame.skeleton, *plants.bone]),
        arms=frame.arms,
        metal=join(plants.metal),
        regions=plants.regions,
        pose=_pose(study, seed),
    )

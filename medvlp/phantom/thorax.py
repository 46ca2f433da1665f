"""One person's chest as numbers: curves in mm over the height, from which voxels, bones and vessels are all made.

Frame: x to the patient's left, y to the back, z to the head; x = 0 is the midline, z = 0 the carina. Every curve is
given for a man of 175 cm and scaled. Anatomy depends on (seed, patient) only; posture and findings change copies of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from medvlp.core.randomness import numpy_generator
from medvlp.phantom.facts import Finding, Patient
from medvlp.phantom.rules import heart_ratio

# Distance below the lung's apex -> half width, front and back of the space inside the ribs.
_BELOW: Final = (-6.0, 0.0, 5.0, 12.0, 25.0, 45.0, 75.0, 120.0, 180.0, 250.0, 340.0)
_WIDTH: Final = (42.0, 49.0, 59.0, 70.0, 83.0, 98.0, 115.0, 131.0, 142.0, 146.0, 142.0)
_FRONT: Final = (16.0, 10.0, -2.0, -14.0, -28.0, -44.0, -60.0, -76.0, -88.0, -96.0, -96.0)
_BACK: Final = (24.0, 32.0, 46.0, 57.0, 69.0, 80.0, 88.0, 92.0, 93.0, 90.0, 80.0)

# Height over the carina; right (x < 0) and left border of heart and great vessels; their centre in y and half depth.
_Z, _RIGHT, _LEFT, _MIDDLE, _HALF = np.array((
    (-170, -155, -145, -132, -118, -104, -88, -70, -50, -32, -18, -4, 12, 40, 62, 84, 104, 130),
    (-8, -22, -32, -39, -44, -47, -48, -46, -41, -34, -30, -29, -29, -29, -29, -34, -43, -50),
    (5, 40, 66, 83, 90, 89, 82, 71, 57, 45, 38, 32, 28, 27, 29, 36, 46, 54),
    (-50, -48, -46, -43, -39, -36, -33, -30, -26, -22, -18, -14, -10, -4, 2, 8, 12, 14),
    (10, 30, 42, 51, 57, 60, 60, 58, 55, 50, 47, 46, 46, 44, 42, 38, 35, 32),
), np.float64)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Numbers of one chest, mm unless said otherwise.

    Attributes:
        sex: ``"F"`` or ``"M"``.
        age: years at the study.
        supine: lying for a bedside film (shallow breath, arms down).
        scale: of width, depth and height against a man of 175 cm.
        apex: z of the lung's apex.
        domes: z of the right and left hemidiaphragm.
        dome_drop: how far a dome falls to the lateral recess.
        shift: the mediastinum's displacement to the patient's left.
        heart_ratio: width of the heart over inner width of the chest.
        fat: thickness under the skin.
        muscle: thickness of the chest wall between ribs and fat.
        breast: thickness of the breasts, 0 for men.
        lung: density of the parenchyma without its vessels, relative to water.
        vessel: relative calibre of the lung vessels (upper, lower zone).
        bone: relative density of bone.
        kyphosis: how far the spine bends back.
        unfolding: of the aorta with age.
        depth: additional depth of the chest (barrel chest).
        seed: makes this patient's ribs, vessels and folds.
    """

    sex: Literal["F", "M"]
    age: int
    supine: bool
    scale: tuple[float, float, float]
    apex: float
    domes: tuple[float, float]
    dome_drop: float
    shift: float
    heart_ratio: float
    fat: float
    muscle: float
    breast: float
    lung: float
    vessel: tuple[float, float]
    bone: float
    kyphosis: float
    unfolding: float
    depth: float
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Cage:
    """The inside of the ribs at some heights: half width, front and back, and the exponent of its rounded outline."""

    width: np.ndarray
    front: np.ndarray
    back: np.ndarray
    exponent: float = 2.4

    @property
    def middle(self) -> np.ndarray:
        """Centre in y."""
        return (self.front + self.back) / 2

    @property
    def half(self) -> np.ndarray:
        """Half depth in y."""
        return (self.back - self.front) / 2


def anatomy_of(patient: Patient, *, seed: int, supine: bool = False) -> Anatomy:
    """Return a patient's normal chest.

    Args:
        patient: who.
        seed: the cohort's seed.
        supine: bedside posture.
    """
    draw = numpy_generator(seed, 0, f"phantom/thorax/{patient.id}")
    female, age = patient.sex == "F", patient.age
    tall = patient.height / 175.0 * float(draw.normal(1.0, 0.04))
    broad = (0.91 if female else 1.0) * (0.45 + 0.55 * tall) * (1.0 + 0.003 * (patient.bmi - 25))
    broad *= float(draw.normal(1, 0.045))
    deep = (0.9 if female else 1.0) * (1.0 + 0.006 * (patient.bmi - 25)) * float(draw.normal(1.0, 0.06))
    breath = float(np.clip(draw.normal(0.0, 14.0), -32.0, 32.0))
    right = -122.0 * tall + breath + 0.6 * max(patient.bmi - 25, 0)
    left = right - float(draw.uniform(5.0, 16.0))
    ratio = float(np.clip(draw.normal(0.446, 0.032) + 0.0012 * (patient.bmi - 25), 0.38, 0.495))
    fat = float(np.clip(5.0 + 1.25 * (patient.bmi - 19.0) + (4.0 if female else 0.0), 4.0, 42.0))
    breast = float(np.clip((16.0 + 1.5 * (patient.bmi - 20.0)) * draw.normal(1.0, 0.25), 8.0, 55.0)) if female else 0.0
    raised = 24.0 if supine else 0.0
    return Anatomy(
        sex=patient.sex,
        age=age,
        supine=supine,
        scale=(broad, deep, tall),
        apex=112.0 * tall,
        domes=(right + raised, left + raised),
        dome_drop=float(draw.normal(46.0, 6.0)) * (0.9 if supine else 1.0),
        shift=0.0,
        heart_ratio=ratio * (1.06 if supine else 1.0),
        fat=fat,
        muscle=(13.0 if female else 17.0) * float(draw.normal(1.0, 0.12)),
        breast=breast * (0.7 if supine else 1.0),
        lung=float(np.clip(draw.normal(0.18, 0.038), 0.115, 0.27)) * (1.25 if supine else 1.0),
        vessel=(0.95, 1.0) if supine else (0.72, 1.0),
        bone=float(
            np.clip((1.12 if not female else 1.0) - 0.006 * max(age - 45, 0) * (1.3 if female else 1.0), 0.6, 1.2)
        ),
        kyphosis=float(max(0.0, draw.normal(0.35, 0.2) + 0.02 * max(age - 55, 0))),
        unfolding=float(np.clip((age - 45) / 40.0 + draw.normal(0.0, 0.15), 0.0, 1.2)),
        depth=0.0,
        seed=int(draw.integers(2**62)),
    )


def with_findings(anatomy: Anatomy, findings: tuple[Finding, ...]) -> Anatomy:
    """Return the chest as the findings that change its shape leave it.

    Cardiomegaly sets the cardiothoracic ratio of its rule; emphysema flattens and lowers the diaphragm,
    deepens the chest, narrows the heart and thins the lungs; oedema redistributes flow to the upper zones; a collapsed
    lobe raises its hemidiaphragm and draws the mediastinum over; a large pneumothorax or effusion pushes it away.
    """
    result = anatomy
    large = any(finding.name == "cardiomegaly" for finding in findings)
    for finding in findings:
        amount, sign = finding.amount, 1.0 if finding.side == "left" else -1.0
        domes = list(result.domes)
        if finding.name == "cardiomegaly":
            result = replace(result, heart_ratio=heart_ratio(amount))
        elif finding.name == "emphysema":
            result = replace(
                result,
                domes=(domes[0] - 5 - 26 * amount, domes[1] - 5 - 26 * amount),
                dome_drop=result.dome_drop * (0.85 - 0.55 * amount),
                depth=result.depth + 3 + 26 * amount,
                lung=result.lung * (0.88 - 0.36 * amount),
                vessel=(result.vessel[0] * (0.9 - 0.25 * amount), result.vessel[1] * (0.9 - 0.25 * amount)),
                heart_ratio=result.heart_ratio if large else result.heart_ratio * (0.94 - 0.1 * amount),
            )
        elif finding.name == "edema":
            upper = result.vessel[1] * (1.05 + 0.4 * amount)
            result = replace(result, vessel=(upper, result.vessel[1] * (1.05 + 0.15 * amount)))
        elif finding.name == "atelectasis":
            pull = 3.0 + 8.0 * amount if amount < 0.5 else 8.0 + 18.0 * amount
            for i, name in enumerate(("right", "left")):
                if finding.side in (name, "bilateral"):
                    domes[i] += pull
            shift = 0.0 if finding.side == "bilateral" or amount < 0.5 else sign * 16.0 * amount
            result = replace(result, domes=(domes[0], domes[1]), shift=result.shift + shift)
        elif finding.name == "pneumothorax":
            result = replace(result, shift=result.shift - sign * 9.0 * max(amount - 0.4, 0.0))
        elif finding.name == "effusion" and finding.side != "bilateral":
            result = replace(result, shift=result.shift - sign * 16.0 * max(amount - 0.45, 0.0))
    return result


def cage_at(anatomy: Anatomy, z: np.ndarray) -> Cage:
    """Return the inside of the ribs at heights ``z`` (any shape)."""
    broad, deep, tall = anatomy.scale
    below = (anatomy.apex - np.asarray(z, np.float64)) / tall
    barrel = anatomy.depth * np.clip(below / 120.0, 0.0, 1.0)
    bend = 8.0 * anatomy.kyphosis * np.exp(-(((below - 110.0) / 80.0) ** 2))
    return Cage(
        width=np.interp(below, _BELOW, _WIDTH) * broad,
        front=np.interp(below, _BELOW, _FRONT) * deep - 0.6 * barrel,
        back=np.interp(below, _BELOW, _BACK) * deep + 0.4 * barrel + bend,
    )


def spine_y(anatomy: Anatomy, z: np.ndarray) -> np.ndarray:
    """Return the y of the vertebral bodies' centres at heights ``z``."""
    below = (anatomy.apex - np.asarray(z, np.float64)) / anatomy.scale[2]
    base = np.interp(below, (-80, -20, 30, 110, 200, 300, 360), (12.0, 24.0, 45.0, 62.0, 58.0, 42.0, 34.0))
    bend = 10.0 * anatomy.kyphosis * np.exp(-(((below - 110.0) / 80.0) ** 2))
    return base * anatomy.scale[1] + bend + 0.25 * anatomy.depth * np.clip(below / 120.0, 0.0, 1.0)


def _heart_height(anatomy: Anatomy, z: np.ndarray) -> np.ndarray:
    """Return where heights ``z`` lie on a man's heart: a raised diaphragm carries it up."""
    tall = anatomy.scale[2]
    floor = max(anatomy.domes) + 122.0 * tall
    height = np.asarray(z, np.float64) / tall
    return height - np.clip(floor, -40.0, 45.0) * np.clip((-height - 10.0) / 90.0, 0.0, 1.0) / tall


def heart_borders(anatomy: Anatomy, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x of the right and left border of heart and great vessels at heights ``z``.

    The part below z = -20 mm is stretched until its greatest width is ``heart_ratio`` of the greatest inner width.
    """
    height = _heart_height(anatomy, z)
    right, left = np.interp(height, _Z, _RIGHT), np.interp(height, _Z, _LEFT)
    inner = float(cage_at(anatomy, np.linspace(max(anatomy.domes) - 15.0, 0.0, 12)).width.max()) * 2
    stretch = anatomy.heart_ratio * inner / float(_LEFT.max() - _RIGHT.min())
    weight = np.clip((-height - 15.0) / 30.0, 0.0, 1.0)
    wide = anatomy.scale[0] + (stretch - anatomy.scale[0]) * weight
    return right * wide + anatomy.shift, left * wide + anatomy.shift


def heart_depth(anatomy: Anatomy, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre in y and the half depth of heart and great vessels at heights ``z``."""
    height, deep = _heart_height(anatomy, z), anatomy.scale[1]
    big = 0.5 + 0.5 * anatomy.heart_ratio / 0.44
    return np.interp(height, _Z, _MIDDLE) * deep, np.interp(height, _Z, _HALF) * deep * big


def dome_height(anatomy: Anatomy, x: np.ndarray, y: np.ndarray, side: int) -> np.ndarray:
    """Return z of a hemidiaphragm over the plane.

    Args:
        anatomy: whose.
        x: mm, broadcasts with ``y``.
        y: mm.
        side: 0 right, 1 left.
    """
    broad, deep, _ = anatomy.scale
    sign = 1.0 if side else -1.0
    outward = sign * x - 70.0 * broad
    across = outward / np.where(outward > 0, 76.0, 105.0) / broad
    along = (y + 8.0) / (np.where(y > -8.0, 104.0, 100.0) * deep)
    distance = across * across + along * along
    drop = 1.0 - np.sqrt(np.maximum(1.0 - 0.93 * distance, 0.02)) + 0.8 * np.maximum(distance - 1.0, 0.0)
    back = 22.0 * np.maximum(y / deep, 0.0) / 90.0
    return anatomy.domes[side] - anatomy.dome_drop * 1.25 * drop - back

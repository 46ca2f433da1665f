"""What is true of a synthetic patient: the facts from which pictures, volumes, masks and reports are all made.

Nothing here draws or renders. A picture and a report agree because both are functions of these records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medvlp.core.triplet import Side

Lobe = Literal["upper", "middle", "lower", ""]
Severity = Literal["mild", "moderate", "severe", ""]
View = Literal["PA", "AP", "LATERAL"]

FINDINGS: tuple[str, ...] = (
    "effusion", "pneumothorax", "consolidation", "nodule", "cardiomegaly", "edema", "atelectasis", "rib_fracture",
    "emphysema", "pacemaker", "central_line", "endotracheal_tube",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Patient:
    """A synthetic person.

    Attributes:
        id: pseudonymous identifier, ``"P000123"``.
        sex: ``"F"`` or ``"M"``.
        age: years at the first study.
        height: body height in cm.
        bmi: body mass index in kg/m2; drives soft tissue thickness.
        split: ``"train" | "validate" | "test"``; a patient is in one split only.
    """

    id: str
    sex: Literal["F", "M"]
    age: int
    height: float
    bmi: float
    split: Literal["train", "validate", "test"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One planted finding.

    Attributes:
        name: one of `FINDINGS`.
        side: the patient's side; ``"bilateral"`` for both; ``"midline"`` or ``""`` where side has no meaning.
        lobe: lobe of the lung, empty where it has no meaning (right lung: upper, middle, lower; left: upper, lower).
        severity: as the report grades it; empty for devices.
        size: characteristic size in mm as the finding's own rule says (nodule: diameter; effusion: depth of the
            layer; pneumothorax: apical rim; rib fracture: displacement), 0 where it has no meaning.
        amount: 0 to 1, the continuous strength that severity is cut from (volume fraction, opacity).
        seed: makes the finding's own shape; the same seed gives the same shape at the next study.
    """

    name: str
    side: Side
    lobe: Lobe
    severity: Severity
    size: float
    amount: float
    seed: int


@dataclass(frozen=True, slots=True)
class Study:
    """One visit: when, where, on which machine, and what is to be seen.

    Attributes:
        id: ``"S0000123"``.
        patient: who.
        number: 0 for the patient's first study, 1 for the second, ...
        date: ``YYYYMMDD``.
        accession: accession number, joins pictures and report.
        site: hospital name, ``"north" | "south" | "east"``.
        scanner: device name, described in `phantom/devices.yaml`.
        views: radiographs taken, frontal first.
        findings: what is planted.
        prior: findings of the patient's previous study, None at the first one.
    """

    id: str
    patient: Patient
    number: int
    date: str
    accession: str
    site: str
    scanner: str
    views: tuple[View, ...]
    findings: tuple[Finding, ...]
    prior: tuple[Finding, ...] | None

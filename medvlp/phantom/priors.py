"""How often a finding is planted, together with what, and what becomes of it: the numbers and nothing else.

Sides, lobes and sizes stand in `phantom/rules.py` with their sources. The numbers here are a design, not the rate of
any real population: they are chosen so that a test split of about 350 studies holds at least 30 positives of each
finding, and that findings keep company as they do in a hospital (failing hearts leak, intubated patients have lines,
broken ribs let air in). They are repeated for readers in ``data_cards/phantom.md``, which also says what was
revised after first trainings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Prior:
    """How one finding comes and goes.

    Attributes:
        target: share of studies that show it, as designed.
        offset: log-odds where every cause is zero, fitted so that ``target`` is met (``tests/phantom`` checks it).
        causes: cause -> log odds ratio. A cause is ``age`` (in steps of `AGE_STEP` years from 60), a latent trait of
            the patient (``cardiac``, ``airway``: standard normal; ``trauma``: 0 or 1), ``bedside`` of the study (0 or
            1), or a finding that stands before this one in `PRIORS`.
        persistence: probability that a follow-up study keeps the earlier state instead of drawing it anew; 1 for what
            is never lost, where a patient without it can still come to have it.
        worse: probability that a finding which stays has grown at the next study.
        better: probability that a finding which stays has shrunk.
        bedside_only: not seen in a patient who stands.
    """

    target: float
    offset: float
    causes: Mapping[str, float]
    persistence: float
    worse: float = 0.0
    better: float = 0.0
    bedside_only: bool = False


# The order is the causal order: a finding's causes stand before it.
PRIORS: Mapping[str, Prior] = MappingProxyType(
    {
        "pacemaker": Prior(0.12, -1.93, {"age": 0.55, "cardiac": 0.7}, 1.0),
        "cardiomegaly": Prior(0.18, -1.59, {"cardiac": 1.2, "age": 0.15, "pacemaker": 0.7}, 0.95, 0.15, 0.05),
        "emphysema": Prior(0.12, -2.34, {"airway": 1.5, "age": 0.3}, 1.0),
        "rib_fracture": Prior(0.12, -2.63, {"trauma": 3.2, "age": 0.1}, 0.85),
        "edema": Prior(0.13, -2.35, {"cardiomegaly": 1.2, "cardiac": 0.3, "bedside": 0.5}, 0.35, 0.3, 0.3),
        "nodule": Prior(0.13, -1.43, {"airway": 0.4, "age": 0.2, "bedside": -0.2}, 0.9, 0.25, 0.05),
        "consolidation": Prior(0.14, -1.87, {"bedside": 0.4, "emphysema": 0.4}, 0.4, 0.3, 0.35),
        "endotracheal_tube": Prior(0.11, -1.56, {"consolidation": 0.3, "edema": 0.2}, 0.4, bedside_only=True),
        "central_line": Prior(0.16, -1.87, {"bedside": 0.5, "endotracheal_tube": 1.0}, 0.45),
        "effusion": Prior(
            0.20, -1.59, {"edema": 1.0, "cardiomegaly": 0.4, "consolidation": 0.6, "bedside": 0.2}, 0.5, 0.3, 0.35
        ),
        "pneumothorax": Prior(
            0.12, -2.27, {"rib_fracture": 1.6, "central_line": 0.6, "emphysema": 0.6}, 0.4, 0.2, 0.45
        ),
        "atelectasis": Prior(0.15, -1.70, {"effusion": 0.8, "endotracheal_tube": 0.4}, 0.45, 0.2, 0.35),
    }
)

AGE_STEP = 15.0
"""Years a unit of the cause ``age``; the standard deviation of ages is 16."""

CHECKUP = 0.27
"""Share of patients who only come for check-ups: on their feet, and seldom with a finding."""

CHECKUP_EFFECT = -2.6
"""Log odds ratio of every finding in such a patient."""

BEDSIDE = 0.88
"""Probability that another patient of average frailty is seen at the bedside (AP): 60 % of all studies, as in
hospital archives more than half of the frontal views are AP."""

SHORTCUT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"south": ("endotracheal_tube", "effusion"), "north": ("nodule",)}
)
"""Site -> findings that training patients have there more often. In validate and test patients the site of a study is
drawn without looking at it, in balanced blocks: a model that reads the site instead of the lung loses there."""

SHORTCUT_WEIGHT = 4.0
"""How many times likelier such a site is for a training study that shows one of its findings."""

"""How often a finding is planted, together with what, and what becomes of it: the numbers and nothing else.

Sides, lobes and sizes stand in `phantom/rules.yaml` with their sources. The numbers here are a design, not the rate of
any real population: they are chosen so that a test split of about 350 studies holds at least 30 positives of each
finding, and that findings keep company as they do in a hospital (failing hearts leak, intubated patients have lines,
broken ribs let air in). They are repeated for readers in ``data_cards/phantom.md``, which also says what was
revised after first trainings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from medvlp.phantom._files import read_facts


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


PRIORS: Mapping[str, Prior] = MappingProxyType({name: Prior(**facts) for name, facts in read_facts("priors").items()})
"""By finding, in causal order: a finding's causes stand before it."""

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

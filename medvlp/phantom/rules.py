"""What each finding's side, lobe, size and amount mean, how they are distributed, and where that is published.

The ranges are the published ones and were fixed before any training. Where in its range a finding mostly lies is a
design, revised once after first trainings, which the data card lists; the nodules kept their published median. `amount`
always runs from mild to severe; where a size in mm drives the picture, the amount is that size on its own range
(`draw_extent`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from medvlp.core.randomness import seed_of
from medvlp.core.triplet import Side
from medvlp.phantom._files import read_facts
from medvlp.phantom.facts import Finding, Lobe, Severity

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Rule:
    """How one finding may be planted.

    Attributes:
        name: one of `FINDINGS`.
        sides: allowed sides with their relative frequency.
        source: publication on which sizes and grades rest.
        lobes: lobes in which it lies (the middle one on the right only); empty where the lobe has no meaning.
        size: meaning of the size, in words; empty where it has none (size 0).
        low: smallest size in mm.
        high: largest size in mm.
        median: median of the log-normal law from which the size is drawn (cut to ``[low, high]``), mm.
        spread: standard deviation of the logarithm of the size.
        amount: range of the amount where it is drawn by itself (uniform); it follows from the size otherwise.
        cuts: amounts from which on the finding is moderate and severe; empty for what is not graded.
    """

    name: str
    sides: tuple[tuple[Side, float], ...]
    source: str
    lobes: tuple[Lobe, ...] = ()
    size: str = ""
    low: float = 0.0
    high: float = 0.0
    median: float = 0.0
    spread: float = 0.0
    amount: tuple[float, float] = (0.0, 1.0)
    cuts: tuple[float, float] | tuple[()] = ()


@dataclass(frozen=True, slots=True)
class Extent:
    """Size in mm, amount 0 to 1 and the severity that a report gives to them."""

    size: float
    amount: float
    severity: Severity


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        name: Rule(name=name, **facts | {"sides": tuple(facts["sides"].items())})
        for name, facts in read_facts("rules").items()
    }
)


def lobes_of(rule: Rule, side: Side) -> tuple[Lobe, ...]:
    """Return the lobes allowed on a side: only the right lung has a middle one, and a pair of lungs shares two."""
    return tuple(lobe for lobe in rule.lobes if lobe != "middle" or side == "right")


def severity_of(rule: Rule, amount: float) -> Severity:
    """Return the grade of an amount, empty for what reports do not grade."""
    if not rule.cuts:
        return ""
    return "mild" if amount < rule.cuts[0] else "moderate" if amount < rule.cuts[1] else "severe"


def draw_extent(rule: Rule, generator: np.random.Generator) -> Extent:
    """Draw size, amount and grade of one finding.

    The size is log-normal, cut to its range by drawing again; the amount is the size on its range. Findings without a
    size have a uniform amount. Devices keep amount 1.
    """
    if rule.high == 0.0:
        amount = float(generator.uniform(*rule.amount))
        return Extent(0.0, amount, severity_of(rule, amount))
    size = -1.0
    while not rule.low <= size <= rule.high:
        size = rule.median * 2.718281828459045 ** (rule.spread * float(generator.standard_normal()))
    if rule.amount == (1.0, 1.0):
        return Extent(size, 1.0, "")
    amount = (size - rule.low) / (rule.high - rule.low)
    return Extent(size, amount, severity_of(rule, amount))


def heart_ratio(amount: float) -> float:
    """Return the cardiothoracic ratio that cardiomegaly of an amount has."""
    return 0.505 + 0.135 * amount


def fractured_ribs(finding: Finding) -> tuple[int, ...]:
    """Return which neighbouring ribs (among 4 to 9) a rib fracture breaks, from above.

    A function of the finding's seed, so that a report can name them. Displaced fractures rarely come alone: one, two or
    three ribs (30, 40, 30 %).
    """
    first = 4 + seed_of(finding.seed, 0, "rib") % 5
    count = (1, 1, 1, 2, 2, 2, 2, 3, 3, 3)[seed_of(finding.seed, 1, "rib") % 10]
    return tuple(range(first, min(first + count, 10)))

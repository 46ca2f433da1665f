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

from medvlp.core.errors import DataError
from medvlp.core.randomness import seed_of
from medvlp.core.triplet import Side
from medvlp.phantom.facts import FINDINGS, Finding, Lobe, Severity

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


_LUNG: Final[tuple[Lobe, ...]] = ("upper", "middle", "lower")
_EITHER: Final[tuple[tuple[Side, float], ...]] = (("left", 0.5), ("right", 0.5))
_BOTH: Final[tuple[tuple[Side, float], ...]] = (("bilateral", 1.0),)

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            Rule(
                name="effusion",
                sides=(("left", 0.35), ("right", 0.4), ("bilateral", 0.25)),
                size="height of the fluid above the lateral costophrenic recess when upright; the same volume layers "
                "behind the lung when supine",
                low=18.0, high=130.0, median=45.0, spread=0.5,
                cuts=(0.2, 0.5),  # 40 mm: dome reached; 74 mm: lower third of the hemithorax
                source="Blackmore et al., Acad Radiol 1996;3:103 (200 mL blunts the lateral angle on a frontal film, "
                "500 mL hides the hemidiaphragm)",
            ),
            Rule(
                name="pneumothorax",
                sides=_EITHER,
                size="distance of the visceral pleura from the cupola at the apex",
                low=10.0, high=70.0, median=34.0, spread=0.4,
                cuts=(0.17, 0.5),  # 20 mm and 40 mm
                source="Baumann et al., Chest 2001;119:590 (small below 3 cm at the apex); MacDuff et al., Thorax "
                "2010;65 Suppl 2:ii18 (large from 2 cm)",
            ),
            Rule(
                name="consolidation",
                sides=(("left", 0.4), ("right", 0.45), ("bilateral", 0.15)),
                lobes=_LUNG,
                size="diameter of the opacity, which stops at the fissures; opacity grows with the amount",
                low=40.0, high=140.0, median=90.0, spread=0.3,
                cuts=(0.25, 0.55),
                source="Hansell et al., Fleischner glossary, Radiology 2008;246:697 (segmental to lobar extent)",
            ),
            Rule(
                name="nodule",
                sides=_EITHER,
                lobes=_LUNG,
                size="diameter",
                low=8.0, high=30.0, median=17.0, spread=0.3,
                source="Shiraishi et al., AJR 2000;174:71 (JSRT films: mean 17 mm); Hansell et al., Radiology "
                "2008;246:697 (a nodule is at most 30 mm)",
            ),
            Rule(
                name="cardiomegaly",
                sides=(("", 1.0),),
                cuts=(0.3, 0.65),  # see `heart_ratio`
                source="Danzer, Am J Med Sci 1919;157:513 (cardiothoracic ratio above 0.50)",
            ),
            Rule(
                name="edema",
                sides=_BOTH,
                amount=(0.1, 1.0),  # cephalisation, then septal lines, then perihilar alveolar haze
                cuts=(0.45, 0.75),
                source="Milne et al., AJR 1985;144:879; Gluecker et al., RadioGraphics 1999;19:1507",
            ),
            Rule(
                name="atelectasis",
                sides=(("left", 0.45), ("right", 0.45), ("bilateral", 0.1)),
                lobes=_LUNG,
                size="thickness of the plate (amount below 0.5) or of the collapsed lobe at its thickest",
                low=4.0, high=40.0, median=14.0, spread=0.6,
                cuts=(0.25, 0.5),  # from 0.5 on a lobe collapses: diaphragm up, mediastinum shifted
                source="Woodring and Reed, J Thorac Imaging 1996;11:109 and 92; Hansell et al., Radiology 2008;246:697",
            ),
            Rule(
                name="rib_fracture",
                sides=_EITHER,
                size="displacement of the fragments across the rib's axis",
                low=4.0, high=16.0, median=10.0, spread=0.3,
                source="Edwards et al., J Trauma Acute Care Surg 2020;88:e40 (offset: cortical contact below 90 %, "
                "displaced: none); Talbot et al., RadioGraphics 2017;37:628 (ribs 4 to 10)",
            ),
            Rule(
                name="emphysema",
                sides=_BOTH,
                amount=(0.2, 1.0),
                cuts=(0.5, 0.75),
                source="Thurlbeck and Simon, AJR 1978;130:429 (flattened diaphragm, lung height, narrow heart)",
            ),
            Rule(
                name="pacemaker",
                sides=(("left", 0.75), ("right", 0.25)),
                amount=(1.0, 1.0),
                source="Aguilera et al., RadioGraphics 2011;31:1669",
            ),
            Rule(
                name="central_line",
                sides=(("right", 0.65), ("left", 0.35)),
                amount=(1.0, 1.0),
                source="Godoy et al., AJR 2012;198:572 (tip at the cavoatrial junction)",
            ),
            Rule(
                name="endotracheal_tube",
                sides=(("midline", 1.0),),
                size="distance of the tip above the carina",
                low=20.0, high=75.0, median=45.0, spread=0.3,
                amount=(1.0, 1.0),
                source="Goodman et al., AJR 1976;127:433 (5 cm above the carina, 2 cm either way with the neck)",
            ),
        )
    }
)  # fmt: skip


def finding_rule(name: str) -> Rule:
    """Return the rule of a finding.

    Raises:
        DataError: if there is no such finding.

    Example:
        >>> finding_rule("nodule").low, finding_rule("nodule").high
        (8.0, 30.0)
    """
    if name not in RULES:
        raise DataError(f"There is no finding {name!r} in the phantom: use one of {', '.join(FINDINGS)}.")
    return RULES[name]


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

"""How findings compare with the prior study."""

from __future__ import annotations

from collections.abc import Sequence

from medvlp.core.triplet import Side
from medvlp.phantom.facts import Finding, Study

DEVICES = ("pacemaker", "central_line", "endotracheal_tube")
_CHRONIC = ("emphysema",)  # nobody writes that it came between two films
_STEADY = ("emphysema", "rib_fracture", *DEVICES)  # there or not, but not more or less
_STEP = 0.08  # of the amount: what a reader would call a change


def _overlap(one: Side, other: Side) -> bool:
    return one == other or "bilateral" in (one, other)


def change_of(finding: Finding, prior: Sequence[Finding] | None) -> str:
    """Return how a finding compares with the prior study.

    ``"new"`` where no finding of the name was on that side, ``"unchanged" | "increased" | "decreased"`` by the amount
    where the same one was there (0.08 is the least change), and ``""`` where there is no prior or the two cannot be
    compared (another lobe, one side of two).
    """
    if prior is None:
        return ""
    before = [other for other in prior if other.name == finding.name and _overlap(other.side, finding.side)]
    if not before:
        return "" if finding.name in _CHRONIC else "new"
    if len(before) != 1 or (before[0].side, before[0].lobe) != (finding.side, finding.lobe):
        return ""
    step = finding.amount - before[0].amount
    if finding.name in _STEADY or abs(step) < _STEP:
        return "unchanged"
    return "increased" if step > 0 else "decreased"


def resolved(study: Study) -> tuple[Finding, ...]:
    """Return findings of the prior study of which nothing is left on their side."""
    return tuple(
        gone
        for gone in study.prior or ()
        if gone.name not in ("emphysema", "rib_fracture")  # it heals, which is not "resolved"
        and not any(now.name == gone.name and _overlap(now.side, gone.side) for now in study.findings)
    )

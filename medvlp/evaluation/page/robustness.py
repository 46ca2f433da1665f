"""Robustness on the page: what one changed factor does to AUROC, and how many such pictures the gate flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.page.words import finding
from medvlp.evaluation.results import Metric, Result

__all__ = ["RobustnessRow", "robustness_rows"]


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """A condition: factor and level, the change of AUROC over findings, the worst finding, and the share flagged."""

    factor: str
    level: str
    change: Metric | None
    worst: Metric | None
    flagged: Metric | None


def robustness_rows(results: Sequence[Result]) -> list[RobustnessRow]:
    """Return the pictures as they are, then every condition in its order; nothing where none was measured.

    Example:
        >>> row = Metric(metric="auroc_difference", label="macro", value=-0.1, n=9, patients=8, group="rotation=10")
        >>> found = robustness_rows([Result(name="robustness", recipe="", data="", metrics=(row,))])
        >>> [(each.factor, each.level, each.change.value) for each in found]
        [('rotation', '10', -0.1)]
    """
    rows = [row for result in results if result.name == "robustness" for row in result.metrics]
    found = []
    for group in dict.fromkeys(row.group for row in rows):
        factor, _, level = (group or "as they are").partition("=")
        mine = [row for row in rows if row.group == group]
        changes = [row for row in mine if row.metric == "auroc_difference"]
        single = [(row.value, row.label, row) for row in changes if row.label != "macro" and row.value is not None]
        found.append(
            RobustnessRow(
                factor=finding(factor),
                level=level,
                change=next((row for row in changes if row.label == "macro"), None),
                worst=min(single, key=lambda each: each[:2])[2] if single else None,
                flagged=next((row for row in mine if row.metric == "flagged"), None),
            )
        )
    return found

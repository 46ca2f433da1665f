"""Robustness on the page: each factor and level with what it does to the macro AUROC and to the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.robustness.factors import FACTORS, LATERAL
from medvlp.evaluation.rows import mean_label


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """One condition: its factor and level in words, the fall of the macro AUROC, and the share that is flagged."""

    factor: str
    level: str
    fall: Metric | None
    flagged: Metric | None


def robustness_rows(results: Sequence[Result]) -> list[RobustnessRow]:
    """Return the conditions in the order in which they were measured, the clean pictures first.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> counts = Counts(n=9, patients=9)
        >>> row = Metric(metric="auroc_difference", label="macro", value=-0.1, counts=counts, group="blur=0.01")
        >>> found = robustness_rows([Result(name="robustness", metrics=(row,))])
        >>> [(each.factor, each.level) for each in found]
        [('blur', '0.01 (standard deviation, of the side)')]
    """
    rows = [row for result in results if result.name == "robustness" for row in result.metrics]
    mean = mean_label(rows, "auroc_difference")
    found = []
    for group in sorted(dict.fromkeys(row.group for row in rows), key=lambda group: group is not None):
        own = {(row.metric, row.label): row for row in rows if row.group == group}
        factor, _, level = (group or "as they are=").partition("=")
        if factor == LATERAL:
            factor, level = "lateral shown as frontal", ""
        elif factor in FACTORS:
            level = f"{level} ({FACTORS[factor].meaning})" if len(FACTORS[factor].levels) > 1 else ""
        fall = own.get(("auroc_difference", mean))
        found.append(RobustnessRow(factor, level, fall, own.get(("flagged", "gate"))))
    return found

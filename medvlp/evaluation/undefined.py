"""Sentences on what a result has no number of, and why."""

from __future__ import annotations

from medvlp.evaluation.results import Result

__all__ = ["undefined_auroc"]

_WHY = {
    "no_positives": "no case is positive",
    "no_negatives": "no case is negative",
    "no_rows": "no case has a label",
}


def undefined_auroc(result: Result) -> list[str]:
    """Return a sentence for each reason that AUROC and average precision of findings are not defined for.

    Example:
        >>> from medvlp.evaluation.results import Metric
        >>> row = Metric(metric="auroc", label="edema", value=None, n=9, patients=9, reason="no_negatives")
        >>> undefined_auroc(Result(name="scores", recipe="", data="", metrics=(row,)))
        ['AUROC and average precision of edema are not defined: no case is negative.']
    """
    found: dict[tuple[str, str], list[str]] = {}
    for row in result.metrics:
        if row.metric == "auroc" and row.group is None and row.value is None and row.reason in _WHY:
            found.setdefault((row.reason, row.split), []).append(row.label.replace("_", " "))
    return [
        f"AUROC and average precision of {', '.join(labels)} are not defined: {_WHY[reason]}"
        f"{f' in the split {split}' if split else ''}."
        for (reason, split), labels in found.items()
    ]

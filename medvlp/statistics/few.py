"""How few patients of a class are too few: for an interval that holds, and for any interval at all."""

from __future__ import annotations

from collections.abc import Collection

FEW_PATIENTS = 30
"""With so many patients, of a class where there are two, or fewer an interval is optimistic."""
LEAST_PATIENTS = 5
"""With fewer patients of a class a bootstrap, a sandwich or DeLong's variance knows nothing: there is no interval."""
FEW = ("few_positives", "few_negatives", "few_patients", "rare_findings")
"""Reasons of numbers with an interval that is optimistic: by class, of those that have none, and of a mean."""
TOO_FEW = ("too_few_positives", "too_few_negatives", "too_few_patients")
"""Reasons of numbers without an interval; the last of those that have no classes."""


def few_reason(positive_patients: int, negative_patients: int) -> str | None:
    """Return the flag of a number that rests on few patients of a class.

    Example:
        >>> few_reason(30, 500), few_reason(31, 30), few_reason(31, 31), few_reason(4, 500)
        ('few_positives', 'few_negatives', None, 'too_few_positives')
    """
    for least, few in ((LEAST_PATIENTS - 1, "too_few"), (FEW_PATIENTS, "few")):
        if positive_patients <= least:
            return f"{few}_positives"
        if negative_patients <= least:
            return f"{few}_negatives"
    return None


def mean_reason(reasons: Collection[str | None]) -> str | None:
    """Return the flag of a mean over findings by theirs: without an interval only where none of them has one.

    Example:
        >>> mean_reason([None, "too_few_positives"]), mean_reason(["too_few_positives"]), mean_reason(["few_positives"])
        ('rare_findings', 'too_few_positives', None)
    """
    rare = [reason for reason in reasons if reason in TOO_FEW]
    if not rare:
        return None
    return rare[0] if len(rare) == len(reasons) else "rare_findings"

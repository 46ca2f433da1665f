"""Thresholds, chosen on validation rows by a named rule and then left alone.

Rules, by name: ``youden`` (largest sensitivity + specificity), ``max_f1``, ``sensitivity_0.9`` (the highest threshold
that reaches it), ``specificity_0.95`` (the lowest threshold that keeps it), ``cost_5`` (a missed finding costs five
false alarms). Where several thresholds are as good, the one that calls fewest rows. A threshold lies midway between the
lowest score called and the next lower one, so that writing scores with fewer digits changes no call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medvlp.core.errors import ConfigError
from medvlp.statistics.metrics import FloatArray, check_both_classes, checked_labels, checked_scores

DEFAULT_PREVALENCES = (0.01, 0.05, 0.2)
DEFAULT_RULES = ("youden", "sensitivity_0.9", "specificity_0.95", "max_f1")


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to choose a threshold.

    Attributes:
        name: as the user gave it.
        kind: ``youden``, ``max_f1``, ``sensitivity``, ``specificity`` or ``cost``.
        target: sensitivity, specificity or cost ratio; 0 for the others.
    """

    name: str
    kind: str
    target: float


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold with the data and criterion it was chosen by.

    Attributes:
        rule: name of the rule.
        threshold: rows with this score or a higher one are called.
        n, positives: rows that it was chosen on.
        sensitivity, specificity: reached there; for the record, not a result.
    """

    rule: str
    threshold: float
    n: int
    positives: int
    sensitivity: float
    specificity: float


def parse_rule(name: str) -> Rule:
    """Return the rule of a name.

    Raises:
        ConfigError: if there is no such rule, or its number makes no sense.

    Example:
        >>> parse_rule("sensitivity_0.9")
        Rule(name='sensitivity_0.9', kind='sensitivity', target=0.9)
    """
    if name in ("youden", "max_f1"):
        return Rule(name, name, 0.0)
    found = re.fullmatch(r"(sensitivity|specificity|cost)_(\d+(?:\.\d+)?|\.\d+)", name)
    if found is None:
        raise ConfigError(
            f"There is no rule {name!r} for an operating point: use youden, max_f1, sensitivity_0.9, specificity_0.95 "
            f"or cost_5 (with your numbers)."
        )
    kind, target = found.group(1), float(found.group(2))
    if target <= 0 or (kind != "cost" and target > 1):
        raise ConfigError(f"The operating point {name!r} asks for {target:g}: a share above 0 up to 1, a cost above 0.")
    return Rule(name, kind, target)


def fit_operating_point(labels: ArrayLike, scores: ArrayLike, rule: Rule) -> OperatingPoint:
    """Choose the threshold of a rule.

    Args:
        labels: ``(n,)`` of 0 and 1, validation rows.
        scores: ``(n,)`` finite.
        rule: how.

    Raises:
        UndefinedMetricError: if a class is missing.
        DataError: if labels are not 0 or 1, or a score is NaN or infinite.

    Example:
        >>> point = fit_operating_point([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], parse_rule("sensitivity_0.9"))
        >>> round(point.threshold, 3), point.sensitivity, point.specificity
        (0.225, 1.0, 0.5)
    """
    truth = checked_labels(labels)
    values = checked_scores(scores, rows=len(truth))
    check_both_classes(truth, "No threshold can be chosen on validation rows")
    ascending, place = np.unique(values, return_inverse=True)
    # Cut j calls the j highest distinct scores; cut 0 calls nothing.
    hit = np.append(0.0, np.cumsum(np.bincount(place, weights=truth)[::-1]))
    false = np.append(0.0, np.cumsum(np.bincount(place, weights=~truth)[::-1]))
    cut = _choose(rule, hit, false)
    return OperatingPoint(
        rule=rule.name,
        threshold=_between(ascending[::-1], cut),
        n=len(truth),
        positives=int(truth.sum()),
        sensitivity=float(hit[cut] / hit[-1]),
        specificity=float(1 - false[cut] / false[-1]),
    )


def _choose(rule: Rule, hit: FloatArray, false: FloatArray) -> int:
    positives, negatives = hit[-1], false[-1]
    if rule.kind == "youden":
        return int(np.argmax(hit * negatives - false * positives))  # in whole numbers: equal is equal
    if rule.kind == "max_f1":
        return int(np.argmax(2 * hit / (positives + hit + false)))
    if rule.kind == "cost":
        return int(np.argmin(rule.target * (positives - hit) + false))
    # 0.9 of 10 is 9 whole rows, whatever the rounding of 0.9 says.
    if rule.kind == "sensitivity":
        return int(np.argmax(hit >= rule.target * positives - 1e-9 * positives))
    enough = negatives - false >= rule.target * negatives - 1e-9 * negatives
    return int(np.flatnonzero(enough)[-1])


def _between(descending: FloatArray, cut: int) -> float:
    if cut == 0:
        return float(np.nextafter(descending[0], np.inf))
    if cut == len(descending):
        return float(descending[-1])
    middle = descending[cut] + (descending[cut - 1] / 2 - descending[cut] / 2)  # halves: huge scores cannot overflow
    return float(middle if middle > descending[cut] else descending[cut - 1])

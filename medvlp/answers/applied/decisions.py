"""What a bundle says of a score: its calibrated probability, and whether the finding is present, absent or neither.

Thresholds, calibrations and conformal rules were chosen on validation pictures and stand in ``bundle.yaml`` for each
answer; scores of another answer are on another scale and get none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medvlp.core.errors import DataError
from medvlp.statistics.calibration.calibrators import Calibrator
from medvlp.statistics.conformal_sets import SetRule

Category = Literal["present", "absent", "indeterminate"]


@dataclass(frozen=True)
class Decisions:
    """Of one answer, by finding.

    Attributes:
        calibrators: maps to probabilities.
        sets: conformal rules.
        thresholds: by operating point.
    """

    calibrators: Mapping[str, Calibrator]
    sets: Mapping[str, SetRule]
    thresholds: Mapping[str, Mapping[str, float]]

    def probability(self, finding: str, score: float) -> float | None:
        """Return the calibrated probability of a score; None where nothing was fitted."""
        known = self.calibrators.get(finding)
        return None if known is None else float(known.probabilities([score])[0])

    def category(self, finding: str, score: float) -> Category | None:
        """Return what the conformal set of a score says; None where nothing was fitted.

        Of new patients like those of validation, at least the rule's level of the positives are "present" or
        "indeterminate", and of the negatives "absent" or "indeterminate".
        """
        rule = self.sets.get(finding)
        if rule is None:
            return None
        made = rule.sets([score])
        if not made.answered[0]:
            return "indeterminate"
        return "present" if made.present[0] else "absent"

    def limits(self, finding: str) -> dict[str, float | None] | None:
        """Return ``absent_to`` and ``present_from`` of `category`, as probabilities where these are calibrated.

        None where nothing was fitted, or the calibration turns the order of scores around.

        Example:
            >>> rule = SetRule(0.9, 0.4, 0.6, positives=50, negatives=50)
            >>> Decisions({}, {"edema": rule}, {}).limits("edema")
            {'absent_to': 0.4, 'present_from': 0.6}
        """
        rule, known = self.sets.get(finding), self.calibrators.get(finding)
        if rule is None:
            return None
        low, high = (
            each if each is None or known is None else float(known.probabilities([each])[0]) for each in rule.limits
        )
        if low is not None and high is not None and high < low:
            return None
        return {"absent_to": low, "present_from": high}


def read_decisions(operating_points: Mapping[str, Any] | None, calibration: Mapping[str, Any] | None) -> Decisions:
    """Read what ``bundle.yaml`` stores; empty where it stores nothing.

    Raises:
        DataError: if it cannot be read.

    Example:
        >>> stored = {"findings": {"edema": {"youden": {"threshold": 0.4}}}, "conformal": {}}
        >>> read_decisions(stored, None).thresholds["edema"]["youden"]
        0.4
    """
    points, maps = operating_points or {}, calibration or {}
    try:
        return Decisions(
            calibrators={name: Calibrator.from_dict(plain) for name, plain in maps.get("findings", {}).items()},
            sets={name: SetRule.from_dict(plain) for name, plain in points.get("conformal", {}).items()},
            thresholds={
                name: {rule: float(plain["threshold"]) for rule, plain in rules.items()}
                for name, rules in points.get("findings", {}).items()
            },
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The bundle's thresholds and calibrations cannot be read ({type(error).__name__}: {error}): "
            f"fit them again."
        ) from error

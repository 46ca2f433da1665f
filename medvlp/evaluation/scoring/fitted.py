"""What is chosen on validation rows for a finding, once: thresholds, calibrations, and the quantiles of its sets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from medvlp.core.errors import DataError
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.split import Finding
from medvlp.statistics.calibration.calibrators import Calibrator
from medvlp.statistics.calibration.fit import fit_calibrator, scale_of
from medvlp.statistics.conformal import fit_sets
from medvlp.statistics.conformal_sets import SetRule
from medvlp.statistics.operating_points import OperatingPoint, fit_operating_point, parse_rule


@dataclass(frozen=True, slots=True)
class FittedFinding:
    """Choices for one finding; `reason` says why there are none.

    Attributes:
        points: thresholds, one a rule.
        calibrators: maps to probabilities.
        sets: conformal rule.
        patients: in the class that has fewer.
        reason: ``"no_validation"`` where the validation rows lack a class.
    """

    points: tuple[OperatingPoint, ...] = ()
    calibrators: tuple[Calibrator, ...] = ()
    sets: SetRule | None = None
    patients: int = 0
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as stored in ``results.json``."""
        if self.reason is not None:
            return {"reason": self.reason}
        return {
            "operating_points": {point.rule: asdict(point) for point in self.points},
            "calibration": {each.name: each.to_dict() for each in self.calibrators},
            "conformal": None if self.sets is None else self.sets.to_dict(),
            "patients": self.patients,
        }


def fit_finding(validation: Finding, options: ScoreOptions) -> FittedFinding:
    """Choose everything for a finding on its validation rows.

    Raises:
        DataError: if the scores are too large or too small for a calibration.
    """
    if validation.reason is not None:
        return FittedFinding(reason="no_validation")
    truth, scores = validation.truth, validation.scores
    scale = scale_of(scores)
    try:
        calibrators = tuple(fit_calibrator(name, truth, scores, scale=scale) for name in options.calibrations)
    except DataError as error:
        raise DataError(f"score:{validation.name}, validation rows: {error}") from None
    return FittedFinding(
        points=tuple(fit_operating_point(truth, scores, parse_rule(rule)) for rule in options.points),
        calibrators=calibrators,
        sets=fit_sets(truth, scores, patients=validation.patient, level=options.coverage),
        patients=validation.smaller,
    )

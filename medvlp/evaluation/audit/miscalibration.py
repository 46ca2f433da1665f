"""Are probabilities what they say? The calibration line, tested with patients as units.

Scores that were said to be probabilities are tested against the diagonal. Where a map was fitted on validation rows,
its probabilities are as wrong as these rows were few; the line on the judged rows is then tested against the line on
the validation rows, both with their errors: a flag says that calibration has moved, not that the sample was small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc

from medvlp.evaluation.scoring.fitted import FittedFinding
from medvlp.evaluation.scoring.split import Finding, SplitData
from medvlp.statistics.calibration.line import CalibrationLine, calibration_line
from medvlp.statistics.metrics import UndefinedMetricError

# The map that is tested: on the rows it was fitted on, its line is the diagonal.
MAP = "platt"


@dataclass(frozen=True, slots=True)
class LineTest:
    """The calibration line of a finding, and the test.

    Attributes:
        finding: whose rows.
        calibration: ``"none"``, or the map.
        line: on these rows.
        p: of "the line is as it should be"; None where a class has too few patients for a test, or no patient moves
            the line.
    """

    finding: Finding
    calibration: str
    line: CalibrationLine
    p: float | None


def line_tests(
    data: SplitData, fitted: Mapping[str, FittedFinding] | None, validation: SplitData | None
) -> list[LineTest]:
    """Return the tests of all findings that have enough patients of both classes; empty without probabilities.

    Args:
        data: the split that is judged.
        fitted: choices by finding.
        validation: the rows they were made on.
    """
    found = []
    held_out = {} if validation is None else {each.name: each for each in validation.findings}
    for finding in data.findings:
        if data.too_small(finding):
            continue
        try:
            if data.options.probabilities:
                line = calibration_line(finding.truth, finding.scores, finding.patient, level=data.options.level)
                found.append(LineTest(finding, "none", line, _p(line, finding)))
            elif fitted is not None and finding.name in held_out and not data.too_small(held_out[finding.name]):
                test = _moved(data, finding, held_out[finding.name], fitted[finding.name])
                if test is not None:
                    found.append(test)
        except UndefinedMetricError:
            continue
    return found


def _moved(data: SplitData, finding: Finding, validation: Finding, fitted: FittedFinding) -> LineTest | None:
    each = next((each for each in fitted.calibrators if each.name == MAP), None)
    if each is None:
        return None
    here, there = (
        calibration_line(rows.truth, each.probabilities(rows.scores), rows.patient, level=data.options.level)
        for rows in (finding, validation)
    )
    return LineTest(finding, MAP, here, _p(here, finding, there, validation))


def _p(
    here: CalibrationLine, finding: Finding, there: CalibrationLine | None = None, other: Finding | None = None
) -> float | None:
    """Wald's test of both coefficients; F instead of chi square, because the variance is of few patients of a class."""
    if here.p is None or (there is not None and there.p is None):
        return None
    off, covariance, freedom = here.line - np.array([1.0, 0.0]), here.covariance, finding.smaller
    if there is not None and other is not None:
        off, covariance = here.line - there.line, covariance + there.covariance
        freedom = min(freedom, other.smaller)
    statistic = float(off @ np.linalg.solve(covariance, off)) / 2
    return float(fdtrc(2, freedom - 1, statistic))

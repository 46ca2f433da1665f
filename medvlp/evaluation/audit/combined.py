"""One test out of many p values: the smallest, times the number of values it is the smallest of (Bonferroni)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medvlp.evaluation.audit.miscalibration import LineTest
from medvlp.evaluation.audit.sentences import gap_sentence, line_sentence, shortcut_sentence
from medvlp.evaluation.metric_row import with_interval
from medvlp.evaluation.results import Comparison, FlagKind, Metric
from medvlp.evaluation.scoring.split import SplitData


@dataclass(frozen=True, slots=True)
class AuditTest:
    """One test of the report.

    Attributes:
        kind: of the flag that it may become.
        name: the column, or the probabilities.
        row: the most telling number, with the p value of the whole test; None and a reason where it could not be made.
        size: how far the number is from what it should be.
        sentence: it in words.
    """

    kind: FlagKind
    name: str
    row: Metric
    size: float = 0.0
    sentence: str = ""


def smallest(ways: Sequence[Sequence[Metric]]) -> tuple[Metric, float] | None:
    """Return the most telling row and the p value of all: every way that has rows gets an equal share.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> counts, tests = Counts(n=9, patients=9), [Comparison(p=p) for p in (0.01, 0.2)]
        >>> rows = [Metric(metric="auroc_gap", label="x", value=0.1, counts=counts, test=test) for test in tests]
        >>> smallest([rows])[1], smallest([rows[1:], rows])[1], smallest([[], []])
        (0.02, 0.04, None)
    """
    used = [[(row, row.test.p) for row in way if row.test.p is not None] for way in ways]
    used = [way for way in used if way]
    best = [(min(way, key=lambda pair: pair[1]), len(way)) for way in used]
    found = [(row, min(1.0, p * count * len(used))) for (row, p), count in best]
    return min(found, key=lambda pair: pair[1], default=None)


def group_test(kind: FlagKind, column: str, rows: Sequence[Metric]) -> AuditTest:
    """Return the test of "all groups of a column have the AUROC of their others", or "no score knows its groups".

    Args:
        kind: ``subgroup_gap`` or ``shortcut``.
        column: its name.
        rows: ``auroc_gap`` or ``shortcut_auroc`` of its groups; of two, each is the other's others: one is enough.
    """
    groups = list(dict.fromkeys(row.group for row in rows))
    rows = [row for row in rows if len(groups) > 2 or row.group == groups[0]]
    found = smallest([[row for row in rows if row.label == "macro"], [row for row in rows if row.label != "macro"]])
    if found is None:
        return AuditTest(kind, column, _untested(rows[-1], f"{kind}_test"))
    row, p = found
    expected, words = (0.0, gap_sentence) if kind == "subgroup_gap" else (0.5, shortcut_sentence)
    tested = replace(row, metric=f"{kind}_test", test=replace(row.test, p=p, p_corrected=None, tests=None))
    return AuditTest(kind, column, tested, abs((row.value or 0.0) - expected), words(row))


def line_test(data: SplitData, lines: Sequence[LineTest], *, reason: str) -> AuditTest:
    """Return the test of "the probabilities of every finding are what they say".

    Args:
        data: the split.
        lines: tests of findings.
        reason: why there are none, if so.
    """
    rows = []
    for each in lines:
        row = replace(
            data.row(each.finding, "miscalibration_test"),
            value=each.line.slope,
            calibration=each.calibration,
            test=Comparison(p=each.p),
        )
        rows.append(with_interval(row, each.line.slope_interval, method="sandwich", form="wald"))
    found = smallest([rows])
    if found is None:
        row = data.average_row(data.findings, "miscalibration_test", "macro")
        return AuditTest("miscalibration", "scores", replace(row, reason=reason))
    row, p = found
    line = next(each for each in lines if each.finding.name == row.label)
    size = max(abs(line.line.slope - 1), abs(line.line.intercept))
    name = "scores" if line.calibration == "none" else line.calibration
    return AuditTest("miscalibration", name, replace(row, test=replace(row.test, p=p)), size, line_sentence(line, row))


def _untested(row: Metric, metric: str) -> Metric:
    return replace(
        row,
        metric=metric,
        test=replace(row.test, p=None, p_corrected=None, tests=None),
        reason=row.reason or "n_too_small",
    )

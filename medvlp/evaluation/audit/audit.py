"""The default report: three kinds of tests, corrected together, and a sentence for each that stands.

A test is of one column: does the AUROC of any of its groups differ from that of the others (subgroup gap), does any
score know its groups (shortcut)? And one is of the probabilities (miscalibration). Within a test the smallest p value
counts, times the number of values it is the smallest of; a gap may show in the mean over findings or in a single one,
and each of the two ways gets half. All tests of a split are then corrected after Holm. What stands is a flag if it is
also of a size that matters: a significant AUROC gap of 0.004 in a million cases is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medvlp.core.grouped import grouped
from medvlp.evaluation.audit.gaps import area_gaps, family, rate_gaps, worst_rows
from medvlp.evaluation.audit.miscalibration import LineTest, line_tests
from medvlp.evaluation.audit.parts import Part, columns_of, crossed
from medvlp.evaluation.audit.sentences import gap_sentence, line_sentence, p_words, shortcut_sentence
from medvlp.evaluation.audit.shortcut import shortcut_rows
from medvlp.evaluation.classification import split_rows
from medvlp.evaluation.metric_row import corrected, with_interval
from medvlp.evaluation.predictions import checked_findings
from medvlp.evaluation.results import Comparison, Flag, FlagKind, Metric, Result
from medvlp.evaluation.scoring.fitted import FittedFinding
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.split import SplitData, split_data
from medvlp.statistics.holm import holm

WRONG = 0.05
LEAST: Mapping[FlagKind, float] = {"subgroup_gap": 0.03, "shortcut": 0.05, "miscalibration": 0.1}
"""How far from 0 a gap, from a half a shortcut's AUROC, from 1 a slope or from 0 an intercept must be for a flag."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Rows of results, and flags."""

    rows: tuple[Metric, ...]
    flags: tuple[Flag, ...]


def audit_split(
    data: SplitData, *, fitted: Mapping[str, FittedFinding] | None = None, validation: SplitData | None = None
) -> Audit:
    """Return the rows and flags of a split; nothing where there are neither groups nor probabilities.

    Args:
        data: the split.
        fitted: thresholds and maps by finding, chosen on validation rows.
        validation: these rows.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> truth, sex = np.tile([0, 1], 200), np.repeat(["F", "M"], 200)
        >>> score = np.where(sex == "M", 2.0, 0.2) * truth + np.random.default_rng(0).normal(size=400)
        >>> table = pd.DataFrame({"id": range(400), "patient_id": range(400), "label:edema": truth,
        ...                       "score:edema": score, "group:sex": sex})
        >>> data = split_data(table, ["edema"], name="test", options=ScoreOptions())
        >>> [(flag.kind, flag.name) for flag in audit_split(data).flags]
        [('subgroup_gap', 'sex')]
    """
    columns = columns_of(data.groups)
    if not columns and not data.options.probabilities and validation is None:
        return Audit((), ())
    parts = [part for members in columns.values() for part in members]
    gaps = [row for part in parts for row in area_gaps(data, part).gaps]
    shortcuts = shortcut_rows(data, [part for part in parts if part.column in data.options.shortcuts])
    rates = [] if fitted is None else [row for part in parts for row in rate_gaps(data, part, fitted)]
    made = corrected([*gaps, *_crossed_rows(data, columns), *shortcuts, *rates], family)
    single = {part.name: part.column for part in parts}
    worst = worst_rows([row for row in made if row.metric == "auroc_gap" and row.group in single], single)

    lines = line_tests(data, fitted, validation)
    probable = data.options.probabilities or validation is not None
    fallen = grouped((single[str(row.group)], row) for row in gaps)
    known = grouped((single[str(row.group)], row) for row in shortcuts if row.metric == "shortcut_auroc")
    tests = [
        *(group_test("subgroup_gap", *rows) for rows in fallen.items()),
        *(group_test("shortcut", *rows) for rows in known.items()),
        line_test(data, lines, reason="n_too_small" if probable else "no_probabilities"),
    ]
    rows, flags = _flagged(tests, data.name)
    return Audit((*made, *worst, *rows), flags)


def with_audit(result: Result, options: ScoreOptions) -> Result:
    """Return a result with the audit of its cases, which hold no validation rows.

    Args:
        result: its cases are a predictions table.
        options: of the statistics.
    """
    if result.cases is None:
        return result
    findings = checked_findings(result.cases)
    made = [
        audit_split(split_data(rows, findings, name=split, options=options)) for split, rows in split_rows(result.cases)
    ]
    return replace(
        result,
        metrics=(*result.metrics, *(row for each in made for row in each.rows)),
        flags=(*result.flags, *(flag for each in made for flag in each.flags)),
    )


def _crossed_rows(data: SplitData, columns: Mapping[str, list[Part]]) -> list[Metric]:
    """Return AUROCs and gaps of pairs of values; of single findings only those that are large enough."""
    rows = []
    for part in crossed(columns):
        found = area_gaps(data, part)
        always = found.gaps[-1].label
        rows += [row for row in (*found.areas, *found.gaps) if row.value is not None or row.label == always]
    return rows


def _flagged(tests: Sequence[AuditTest], split: str) -> tuple[list[Metric], tuple[Flag, ...]]:
    """Correct all tests together; return their rows, and the flags, clearest first."""
    together = holm([test.row.test.p for test in tests])
    count = sum(value is not None for value in together)
    rows, flags = [], []
    for test, value in zip(tests, together, strict=True):
        p = test.row.test.p
        made = replace(test.row.test, p_corrected=value, tests=None if value is None else count)
        rows.append(replace(test.row, test=made))
        if p is not None and value is not None and value <= WRONG and test.size >= LEAST[test.kind]:
            flags.append(
                Flag(
                    kind=test.kind,
                    name=test.name,
                    sentence=f"{test.sentence} ({p_words(p, value, count)}).",
                    p=p,
                    p_holm=value,
                    tests=count,
                    split=split,
                )
            )
    return rows, tuple(sorted(flags, key=lambda flag: (flag.p_holm, flag.p)))


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

"""Forest plots as data: points with intervals on rows of one axis, placed in percent of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medvlp.core.grouped import grouped
from medvlp.evaluation.rank_metrics import ALIKE
from medvlp.evaluation.results import AVERAGES, Metric, Result
from medvlp.evaluation.rows import findings_of, headline_of, judged_rows, macro_of, only, plain_auroc
from medvlp.evaluation.words import REASONS, finding, integer, interval, name_of, number
from medvlp.statistics.few import FEW, TOO_FEW


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with its interval on a forest row, in percent of the axis.

    `style` is a class of the style sheet; `few` says that few patients of a class make the interval optimistic.
    """

    series: str
    style: str
    at: float
    low: float | None
    high: float | None
    value: str
    interval: str
    few: bool


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One row: a name, its cases, the marks, and whether it is set apart as a summary."""

    name: str
    cases: str
    marks: tuple[Mark, ...]
    note: str
    summary: bool


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows over one axis; ticks are ``(percent, words)``, chance is in percent; `few` if any mark is."""

    rows: tuple[ForestRow, ...]
    ticks: tuple[tuple[float, str], ...]
    chance: float
    legend: tuple[tuple[str, str], ...]
    few: bool


@dataclass(frozen=True, slots=True)
class Dimension:
    """AUROC by one group column: a forest of its macro averages and a table of findings."""

    name: str
    forest: Forest
    values: tuple[str, ...]
    table: tuple[tuple[str, tuple[Metric | None, ...]], ...]


def finding_forest(results: Sequence[Result]) -> Forest | None:
    """Return AUROC per finding, one mark a result that shares findings with the headline, macro last."""
    best = headline_of(results)
    if best is None:
        return None
    # A result on other labels (one that tells left from right, say) is no further reading of the same findings.
    asked = findings_of(best)
    alike = [result for result in results if only(result, "auroc", "macro") and asked & findings_of(result)]
    series = [(result, f"series{at}") for at, result in enumerate(alike)]
    labels = list(dict.fromkeys(row.label for result, _ in series for row in result.metrics if plain_auroc(row)))
    rows = []
    for label in [*(label for label in labels if label not in AVERAGES), "macro"]:
        found = [(result, style, only(result, "auroc", label)) for result, style in series]
        present = [(result, style, row) for result, style, row in found if row is not None]
        first, macro = present[0][2], label == "macro"
        cases = _findings(first) if macro else f"{integer(first.counts.positives)} of {integer(first.counts.n)}"
        rows.append(_row("macro average" if macro else finding(label), cases, present, summary=macro))
    return _forest(rows, tuple((style, name_of(result.name, result.title)) for result, style in series))


def control_forest(result: Result, group_name: str) -> Forest:
    """Return the macro AUROC of each value of a group, everybody last."""
    rows, everybody = [], macro_of(result)
    macros = [row for row in _of_groups(result, group_name) if row.label == "macro"]
    for row in sorted(macros, key=_value):
        # A mean over fewer findings than everybody's is another mean: everybody's over the same ones stands by it.
        alike = only(result, f"auroc{ALIKE}", "macro", row.group)
        over = f", {_findings(row)}" if alike is not None else ""
        marks = [(result, "series0", row), *([] if alike is None else [(result, "series2", alike)])]
        rows.append(_row(finding(_value(row)), f"{integer(row.counts.n)} cases{over}", marks))
    legend = ()
    if any(len(row.marks) > 1 for row in rows):
        legend = (("series0", "of the group"), ("series2", "of everybody, over the same findings"))
    if everybody is not None:
        over = f", {_findings(everybody)}" if legend else ""
        marks = [(result, "series0", everybody)]
        rows.append(_row("everybody", f"{integer(everybody.counts.n)} cases{over}", marks, summary=True))
    return _forest(rows, legend)


def _findings(row: Metric) -> str:
    return f"{row.counts.labels_used} finding{'s' if row.counts.labels_used != 1 else ''}"


def dimensions(result: Result) -> list[Dimension]:
    """Return AUROC by each group column of a result."""
    found = []
    for name in dict.fromkeys(str(row.group).partition("=")[0] for row in _of_groups(result)):
        rows = _of_groups(result, name)
        values = sorted({_value(row) for row in rows})
        # Looked up: searched for, they took their own number squared.
        cells = {(row.label, _value(row)): row for row in rows}
        labels = list(dict.fromkeys(row.label for row in rows))
        table = tuple(
            (
                "macro average" if label == "macro" else finding(label),
                tuple(cells.get((label, value)) for value in values),
            )
            for label in sorted(labels, key=lambda label: label == "macro")
        )
        found.append(Dimension(name, control_forest(result, name), tuple(values), table))
    return found


def on_axis(
    rows: Sequence[ForestRow],
    ticks: Sequence[tuple[float, str]],
    *,
    line: float | None,
    legend: tuple[tuple[str, str], ...],
) -> Forest:
    """Place rows whose marks are in units of the axis on it; what lies below its first tick stands there.

    Args:
        rows: with `Mark.at`, ``low`` and ``high`` as values.
        ticks: value and words, ascending.
        line: value of the dashed line; None for none.
        legend: style and name of each series.
    """
    first, last = ticks[0][0], ticks[-1][0]

    def place(value: float) -> float:
        return round(100 * (max(value, first) - first) / (last - first), 2)

    def placed(mark: Mark) -> Mark:
        low, high = (None if end is None else place(end) for end in (mark.low, mark.high))
        return replace(mark, at=place(mark.at), low=low, high=high)

    laid = tuple(replace(row, marks=tuple(map(placed, row.marks))) for row in rows)
    few = any(mark.few for row in laid for mark in row.marks)
    at = -100.0 if line is None else place(line)  # off the axis
    return Forest(laid, tuple((place(value), words) for value, words in ticks), at, legend, few)


def _row(name: str, cases: str, present: Sequence[tuple[Result, str, Metric]], *, summary: bool = False) -> ForestRow:
    marks = [
        mark_of(row, name_of(result.name, result.title), style)
        for result, style, row in present
        if row.value is not None
    ]
    return ForestRow(name, cases, tuple(marks), _note(present[0][2]), summary)


def _forest(rows: Sequence[ForestRow], legend: tuple[tuple[str, str], ...]) -> Forest:
    """Lay rows on an axis from the lowest limit (0.4 or less) to 1."""
    ends = [end for row in rows for mark in row.marks for end in (mark.low, mark.at) if end is not None]
    low = max(0.0, min(0.4, math.floor(10 * min(ends, default=0.4)) / 10))
    steps = [low + 0.1 * step for step in range(round((1 - low) * 10) + 1)]
    return on_axis(rows, [(step, f"{step:.1f}") for step in steps], line=0.5, legend=legend)


def mark_of(row: Metric, series: str, style: str) -> Mark:
    """Return the mark of a metric that has a value, in its own units."""
    return Mark(
        series=series,
        style=style,
        at=row.value or 0.0,
        low=row.interval.low,
        high=row.interval.high,
        value=number(row.value),
        interval="no interval" if row.reason in TOO_FEW else interval(row),
        few=row.reason in FEW,
    )


def _note(row: Metric) -> str:
    """Return why a row has no number."""
    if row.reason == "none_large_enough" and row.counts.min_positives:
        return f"no finding with {row.counts.min_positives} positive cases and enough patients"
    return REASONS.get(row.reason or "", "")


def _of_groups(result: Result, name: str = "") -> list[Metric]:
    """Return the AUROC of groups (of the column `name`), each finding's of the split that is judged of it."""
    # A value that other splits alone have is no group of these cases: beside them it would be read as one.
    labels = grouped((row.label, row) for row in result.metrics if row.metric == "auroc")
    rows = [row for each in labels.values() for row in judged_rows(each) if row.group]
    return [row for row in rows if not name or str(row.group).startswith(f"{name}=")]


def _value(row: Metric) -> str:
    return str(row.group).partition("=")[2]

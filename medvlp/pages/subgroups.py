"""Subgroups on the page: a forest of each column, gaps to all others, and whether scores know the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.results import Flag, Metric, Result
from medvlp.evaluation.rows import judged_rows
from medvlp.evaluation.words import finding, name_of
from medvlp.pages.forest import Dimension, dimensions
from medvlp.pages.gate import of_gate

_TESTS = ("subgroup_gap_test", "shortcut_test", "miscalibration_test")


@dataclass(frozen=True, slots=True)
class GapRow:
    """A group, its gap over findings to all others, and the finding on which it is furthest behind them."""

    group: str
    gap: Metric
    worst: Metric | None


@dataclass(frozen=True, slots=True)
class Subgroups:
    """All that a result says of one column, or of a pair of columns.

    Attributes:
        result: name of the result.
        name: of the column.
        dimension: AUROC by value; None where there is no mean over findings.
        gaps: one row a value.
        values: of the column, for `shortcuts`.
        shortcuts: (finding, AUROC of its score for each value among cases without the finding).
        pair: the column is a pair of columns.
    """

    result: str
    name: str
    dimension: Dimension
    gaps: tuple[GapRow, ...]
    values: tuple[str, ...]
    shortcuts: tuple[tuple[str, tuple[Metric | None, ...]], ...]
    pair: bool


@dataclass(frozen=True, slots=True)
class Audited:
    """Tests of groups, shortcuts and calibration, what they were corrected together within, and what stood."""

    tests: int
    families: int
    flags: tuple[Flag, ...]


def subgroups(results: Sequence[Result]) -> list[Subgroups]:
    """Return every column of every model result, single columns before pairs."""
    found = [
        _column(result, dimension)
        for result in results
        if result.role == "model" and not of_gate(result)
        for dimension in dimensions(result)
    ]
    return sorted(found, key=lambda each: each.pair)


def audited(results: Sequence[Result]) -> Audited | None:
    """Return what the audit found; None where none was made."""
    made = [(at, row) for at, result in enumerate(results) for row in result.metrics if row.metric in _TESTS]
    made = [(at, row.split) for at, row in made if row.test.p is not None]
    flags = tuple(flag for result in results for flag in result.flags)
    return Audited(len(made), len(set(made)), flags) if made or flags else None


def _column(result: Result, dimension: Dimension) -> Subgroups:
    prefix = f"{dimension.name}="
    mine = judged_rows(row for row in result.metrics if (row.group or "").startswith(prefix))
    gaps = {group: [row for row in mine if (row.metric, row.group) == ("auroc_gap", group)] for group in _groups(mine)}
    known = [row for row in mine if row.metric == "shortcut_auroc"]
    values = tuple(group.removeprefix(prefix) for group in _groups(known))
    cells = {(row.label, (row.group or "").removeprefix(prefix)): row for row in known}
    return Subgroups(
        result=name_of(result.name, result.title),
        name=dimension.name,
        dimension=dimension,
        gaps=tuple(
            GapRow(group.removeprefix(prefix), rows[-1], _worst(rows[:-1])) for group, rows in gaps.items() if rows
        ),
        values=values,
        shortcuts=tuple(
            (finding(label), tuple(cells.get((label, value)) for value in values))
            for label in dict.fromkeys(row.label for row in known)
        ),
        pair=" & " in dimension.name,
    )


def _groups(rows: Sequence[Metric]) -> list[str]:
    return sorted({str(row.group) for row in rows})


def _worst(rows: Sequence[Metric]) -> Metric | None:
    """Return the finding on which a group falls behind most; None where it never does."""
    behind = [(row.value, row.label, row) for row in rows if row.value is not None and row.value < 0]
    return min(behind, key=lambda each: each[:2])[2] if behind else None

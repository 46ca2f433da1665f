"""The table of a sweep in words: as tables that are written, and as the JSON document."""

from __future__ import annotations

from dataclasses import asdict

from medvlp.evaluation import tables
from medvlp.evaluation.cells import Limits, Measure, Reading, Table, TableRow
from medvlp.evaluation.tables import SYNTHETIC, Cell
from medvlp.statistics.few import FEW

SCHEMA = "medvlp.sweep/1"
_REASONS = {
    "one_seed": "one seed",
    "not_recomputed": "not made",
    "other_cases": "other cases",
    "few_patients": "too few",
    "few_resamples": "few resamples",
    "no_spread": "no spread",
    "no_value": "",
}


def document(table: Table) -> dict[str, object]:
    """Return the table as plain data, every number that the other forms round.

    Example:
        >>> empty = Table(title="", measures=(), rows=(), reference=None, level=0.95, resamples=2000, comparisons=0,
        ...               synthetic=False, caveats=())
        >>> document(empty)["schema"]
        'medvlp.sweep/1'
    """
    plain = asdict(table)
    cells = plain.pop("rows")
    for run in (run for cell in cells for run in cell["runs"]):
        del run["results"]
        if not run["reason"]:
            del run["reason"]
    return {"schema": SCHEMA, **plain, "measures": [each.model_dump() for each in table.measures], "cells": cells}


def reading_tables(table: Table) -> list[tables.Table]:
    """Return one table a measure, rounded, with what its intervals are below the last one."""
    axes = list(table.rows[0].labels) if table.rows else []
    columns = [*axes, "seeds", "mean", "sd", "over patients", "over seeds"]
    if table.reference is not None:
        columns += ["difference", "over patients", "over seeds", "p (Holm)"]
    made = []
    for at, measure in enumerate(table.measures):
        rows = [_entries(row, row.readings[at], measure, reference=table.reference) for row in table.rows]
        last = at == len(table.measures) - 1
        notes = [*([SYNTHETIC] if table.synthetic else []), *table.caveats, *note_lines(table)] if last else []
        caption = f"{table.title}: {measure.name}"
        made.append(tables.Table(caption, tuple(columns), tuple(rows), tuple(notes), words=len(axes)))
    return made


def number_table(table: Table) -> tables.Table:
    """Return one row a cell and measure, with unrounded numbers."""
    limits = [f"{kind}_{end}" for kind in ("patients", "seeds") for end in ("low", "high")]
    columns = ["result", "metric", "label", "group", "split", *(table.rows[0].labels if table.rows else []), "runs"]
    columns += ["values", "mean", "sd", *limits, "n", "positives", "patients", "reference", "difference"]
    columns += [*(f"difference_{name}" for name in limits), "p", "p_holm"]
    rows = []
    for at, measure in enumerate(table.measures):
        for row in table.rows:
            reading, less = row.readings[at], row.readings[at].difference
            asked = (measure.result, measure.metric, measure.label, measure.group or "", measure.split)
            counts = [reading.n, reading.positives, reading.patients]
            numbers: list[float | None] = [None] * 7
            if less is not None:
                numbers = [less.value, *_ends(less.over_patients), *_ends(less.over_seeds), less.p, less.p_holm]
            rows.append(
                (
                    *asked,
                    *row.labels.values(),
                    len(reading.values),
                    " ".join(map(repr, reading.values.values())),
                    *map(Cell, (reading.mean, reading.sd, *_ends(reading.over_patients), *_ends(reading.over_seeds))),
                    *("" if count is None else count for count in counts),
                    "" if less is None else str(table.reference),
                    *map(Cell, numbers),
                )
            )
    return tables.Table(table.title, tuple(columns), tuple(rows))


def note_lines(table: Table) -> list[str]:
    """Return what each number is, one sentence a line."""
    level = f"{100 * table.level:g} %"
    lines = [
        "mean, sd: of the runs' values, one run a seed.",
        f"over seeds: {level} interval of the mean if training were repeated with other seeds (Student's t over the "
        "seeds' values); it holds these test patients fixed.",
        f"over patients: {level} interval of the mean if other test patients were drawn (percentile bootstrap of "
        f"patients, {table.resamples} resamples, the seeds' values averaged in each); it holds these trained models "
        "fixed.",
    ]
    if table.reference is not None:
        lines += [
            f"difference: to {table.reference}, over the seeds that both have; over patients both are resampled "
            "together (paired), over seeds it is of the seeds' own differences.",
            f"p (Holm): two-sided, of the paired patient bootstrap, corrected over the {table.comparisons} comparisons "
            "of this table; it says nothing of other seeds.",
        ]
    readings = [reading for row in table.rows for reading in row.readings]
    if any(map(few_words, readings)):
        lines.append("(few): 30 patients or fewer of one class (a mean: 4 of a finding), optimistic over patients.")
    if any(reading.over_patients.reason == "few_patients" for reading in readings):
        lines.append("too few: fewer than 6 patients in a class, there is no interval over patients and no p.")
    if any(measure.split == "test" for measure in table.measures) and len(table.rows) > 1:
        lines.append("The best of many rows is too good on the records it was chosen by: choose by validation.")
    return lines


def digits_of(measure: Measure) -> int:
    """Digits behind the point: ranks have one."""
    return 1 if measure.metric in ("mean_rank", "median_rank") else 3


def range_words(limits: Limits, digits: int, *, signed: bool = False) -> str:
    """Return an interval in words, or why there is none.

    Example:
        >>> range_words(Limits(low=0.71234, high=0.8, method="student_t_over_seeds"), 3)
        '0.712 to 0.800'
    """
    if limits.low is None or limits.high is None:
        return _REASONS.get(limits.reason, limits.reason)
    sign = "+" if signed else ""
    return f"{limits.low:{sign}.{digits}f} to {limits.high:{sign}.{digits}f}"


def few_words(reading: Reading) -> str:
    """Return a mark for a patient interval of few patients of a class."""
    return " (few)" if reading.reason in FEW and reading.over_patients.low is not None else ""


def _entries(
    row: TableRow, reading: Reading, measure: Measure, *, reference: str | None
) -> tuple[str | int | Cell, ...]:
    digits, few, less = digits_of(measure), few_words(reading), reading.difference
    have, asked = len(reading.values), len(row.runs)
    entries: list[str | int | Cell] = [*row.labels.values(), have if have == asked else f"{have} of {asked}"]
    entries[0] = f"{entries[0]} (reference)" if row.name == reference else entries[0]
    why = "no finished run" if reading.reason == "no_run" else reading.reason.replace("_", " ")
    entries.append(why if reading.mean is None else Cell(reading.mean, digits=digits))
    entries.append("" if reading.sd is None else f"{reading.sd:.{digits}f}")
    entries += [range_words(reading.over_patients, digits) + few, range_words(reading.over_seeds, digits)]
    if reference is not None and less is None:
        entries += ["", "", "", ""]
    elif less is not None:
        entries.append(f"{less.value:+.{digits}f}")
        entries.append(range_words(less.over_patients, digits, signed=True) + few)
        entries.append(range_words(less.over_seeds, digits, signed=True))
        entries.append("" if less.p_holm is None else Cell(less.p_holm, p=True).text())
    return tuple(entries)


def _ends(limits: Limits) -> tuple[float | None, float | None]:
    return limits.low, limits.high

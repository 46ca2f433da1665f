"""The table of a sweep as JSON, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict

from medvlp.evaluation.cells import Limits, Measure, Reading, RunFacts, Table, TableRow

__all__ = [
    "SCHEMA",
    "csv_text",
    "digits_of",
    "document",
    "few_words",
    "markdown",
    "note_lines",
    "p_words",
    "range_words",
    "seeds_words",
]

SCHEMA = "medvlp.sweep/1"
_RANKS = ("mean_rank", "median_rank")
_REASONS = {
    "one_seed": "one seed",
    "not_recomputed": "not made",
    "other_cases": "other cases",
    "few_patients": "too few",
    "few_resamples": "few resamples",
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
    return {
        "schema": SCHEMA,
        "title": table.title,
        "reference": table.reference,
        "level": table.level,
        "resamples": table.resamples,
        "comparisons": table.comparisons,
        "synthetic": table.synthetic,
        "caveats": list(table.caveats),
        "measures": [asdict(measure) for measure in table.measures],
        "cells": [
            {
                "name": row.name,
                "labels": dict(row.labels),
                "identity": row.identity,
                "runs": [_run(run) for run in row.runs],
                "readings": [_reading(reading) for reading in row.readings],
            }
            for row in table.rows
        ],
    }


def markdown(table: Table) -> str:
    """Return one Markdown table a measure, and under it what its intervals are."""
    parts = [f"# {table.title}"]
    parts += [f"**Mind.** {caveat}" for caveat in _warnings(table)]
    for at, measure in enumerate(table.measures):
        parts.append(f"## {measure.name}")
        axes = list(table.rows[0].labels) if table.rows else []
        compared = table.reference is not None
        head = [*axes, "seeds", "mean", "sd", "over patients", "over seeds"]
        head += ["difference", "over patients", "over seeds", "p (Holm)"] if compared else []
        lines = [_line(head), _line(["---"] * len(head))]
        lines += [_line(_cells_of(row, row.readings[at], measure, compared=compared)) for row in table.rows]
        parts.append("\n".join(lines))
    parts.append("\n".join(f"- {line}" for line in note_lines(table)))
    return "\n\n".join(parts) + "\n"


def csv_text(table: Table) -> str:
    """Return one line a cell and measure, with unrounded numbers."""
    axes = list(table.rows[0].labels) if table.rows else []
    limits = [f"{kind}_{end}" for kind in ("patients", "seeds") for end in ("low", "high")]
    head = ["result", "metric", "label", "group", "split", *axes, "runs", "values", "mean", "sd", *limits, "n"]
    head += [
        "positives",
        "patients",
        "reference",
        "difference",
        *(f"difference_{name}" for name in limits),
        "p",
        "p_holm",
    ]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    for at, measure in enumerate(table.measures):
        for row in table.rows:
            reading, difference = row.readings[at], row.readings[at].difference
            own = [measure.result, measure.metric, measure.label, measure.group, measure.split, *row.labels.values()]
            own += [len(reading.values), " ".join(map(repr, reading.values.values())), reading.mean, reading.sd]
            own += [*_ends(reading.over_patients), *_ends(reading.over_seeds)]
            own += [reading.n, reading.positives, reading.patients]
            if difference is None:
                own += [""] * 8
            else:
                own += [table.reference, difference.value, *_ends(difference.over_patients)]
                own += [*_ends(difference.over_seeds), difference.p, difference.p_holm]
            writer.writerow(["" if value is None else value for value in own])
    return buffer.getvalue()


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
    if any(few_words(reading) for row in table.rows for reading in row.readings):
        lines.append("(few): 30 positive patients or fewer, the interval over patients is optimistic.")
    if any(reading.over_patients.reason == "few_patients" for row in table.rows for reading in row.readings):
        lines.append("too few: fewer than 6 patients in a class, there is no interval over patients and no p.")
    if any(measure.split == "test" for measure in table.measures) and len(table.rows) > 1:
        lines.append("The best of many rows is too good on the records it was chosen by: choose by validation.")
    return lines


def digits_of(measure: Measure) -> int:
    """Digits behind the point: ranks have one."""
    return 1 if measure.metric in _RANKS else 3


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


def p_words(p: float | None) -> str:
    """Return a p value in words.

    Example:
        >>> p_words(0.0004), p_words(0.0312), p_words(None)
        ('< 0.001', '0.031', '')
    """
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def few_words(reading: Reading) -> str:
    """Return a mark for a patient interval of few positive patients."""
    return " (few)" if reading.reason == "few_positives" and reading.over_patients.low is not None else ""


def seeds_words(row: TableRow, reading: Reading) -> str:
    """Return how many seeds have a value, of how many."""
    have, asked = len(reading.values), len(row.runs)
    return f"{have}" if have == asked else f"{have} of {asked}"


def _warnings(table: Table) -> list[str]:
    synthetic = (
        ["Synthetic data: the numbers prove the machinery, never clinical performance."] if table.synthetic else []
    )
    return [*synthetic, *table.caveats]


def _cells_of(row: TableRow, reading: Reading, measure: Measure, *, compared: bool) -> list[str]:
    digits = digits_of(measure)
    words = [*row.labels.values(), seeds_words(row, reading)]
    words.append(reading.reason if reading.mean is None else f"{reading.mean:.{digits}f}")
    words.append("" if reading.sd is None else f"{reading.sd:.{digits}f}")
    words += [range_words(reading.over_patients, digits) + few_words(reading), range_words(reading.over_seeds, digits)]
    if compared:
        difference = reading.difference
        if difference is None:
            words += ["", "", "", ""]
        else:
            words.append(f"{difference.value:+.{digits}f}")
            words.append(range_words(difference.over_patients, digits, signed=True) + few_words(reading))
            words.append(range_words(difference.over_seeds, digits, signed=True))
            words.append(p_words(difference.p_holm))
    return words


def _line(words: list[str]) -> str:
    return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"


def _ends(limits: Limits) -> tuple[float | None, float | None]:
    return limits.low, limits.high


def _run(run: RunFacts) -> dict[str, object]:
    facts: dict[str, object] = {
        "seed": run.seed,
        "folder": run.folder,
        "state": run.state,
        "seconds": run.seconds,
        "code": run.code,
    }
    return {**facts, "reason": run.reason} if run.reason else facts


def _reading(reading: Reading) -> dict[str, object]:
    return {**asdict(reading), "values": {str(seed): value for seed, value in reading.values.items()}}

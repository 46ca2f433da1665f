"""The page of a sweep: for each measure a forest and a table, then the runs and what they were made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from medvlp.evaluation.cells import Limits, Measure, Reading, RunFacts, Table, TableRow
from medvlp.evaluation.cells_text import digits_of, few_words, note_lines, p_words, range_words, seeds_words
from medvlp.evaluation.words import REASONS, finding, integer, name_of, percent
from medvlp.pages.forest import Forest, ForestRow, Mark
from medvlp.pages.render import environment

__all__ = ["SweepPage", "render_sweep"]

_LEGEND = (("series0", "over patients"), ("series1", "over seeds"))
_STATES = {"finished": "finished", "failed": "failed", "begun": "begun, not finished", "not begun": "not begun"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPage:
    """What the page shows beside the table.

    Attributes:
        table: the numbers.
        facts: of how it was made, name -> words.
        axes: axis -> label -> what it sets, in words.
    """

    table: Table
    facts: Mapping[str, object]
    axes: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of a table in words; the last four are of the difference."""

    labels: tuple[str, ...]
    seeds: str
    mean: str
    sd: str
    over_seeds: str
    over_patients: str
    difference: str
    patients: str
    paired_seeds: str
    p: str
    reference: bool


@dataclass(frozen=True, slots=True)
class _Section:
    """One measure."""

    title: str
    where: str
    forest: Forest | None
    lines: tuple[_Line, ...]


@dataclass(frozen=True, slots=True)
class _RunLine:
    """A run in words; the folder is its cell's."""

    cell: str
    folder: str
    run: RunFacts
    state: str
    values: tuple[str, ...]


def render_sweep(page: SweepPage) -> str:
    """Return the page as HTML; every label and message is escaped.

    Example:
        >>> empty = Table(title="a <b>", measures=(), rows=(), reference=None, level=0.95, resamples=2000,
        ...               comparisons=0, synthetic=False, caveats=())
        >>> "<h1>a &lt;b&gt;</h1>" in render_sweep(SweepPage(table=empty, facts={}, axes={}))
        True
    """
    table = page.table
    return (
        environment()
        .get_template("sweep.html.jinja")
        .render(
            page=page,
            table=table,
            summary=_summary(table),
            sections=[_section(table, at, measure) for at, measure in enumerate(table.measures)],
            axes=list(table.rows[0].labels) if table.rows else [],
            measures=[_title(measure) for measure in table.measures],
            runs=[[_run_line(table, row, run) for run in row.runs] for row in table.rows],
            notes=note_lines(table),
            level=percent(table.level),
        )
    )


def _summary(table: Table) -> str:
    runs = [run for row in table.rows for run in row.runs]
    done = sum(run.state == "finished" for run in runs)
    words = f"{len(table.rows)} cells, {done} of {len(runs)} runs finished."
    if not table.measures:
        return words
    read = [(row, row.readings[0]) for row in table.rows if row.readings[0].mean is not None]
    if not read:
        return f"{words} Nothing is measured yet."
    digits = digits_of(table.measures[0])
    least = table.measures[0].metric.endswith("_rank")
    best, reading = (min if least else max)(read, key=lambda pair: pair[1].mean or 0.0)
    seeds = f"{len(reading.values)} seed{'s' if len(reading.values) != 1 else ''}"
    words += f" {_title(table.measures[0])} is {'lowest' if least else 'highest'} for {best.name}: "
    words += f"{reading.mean:.{digits}f}, the mean of {seeds}"
    difference = reading.difference
    if difference is not None and difference.over_patients.low is not None:
        around = _minus(range_words(difference.over_patients, digits, signed=True))
        more = _minus(f"{difference.value:+.{digits}f}")
        words += f", {more} ({percent(table.level)} over patients {around}) to {table.reference}"
    return f"{words}."


def _section(table: Table, at: int, measure: Measure) -> _Section:
    read = [(row, row.readings[at]) for row in table.rows]
    first = next((reading for _, reading in read if reading.n is not None), None)
    where = f"split: {measure.split}"
    if first is not None:
        cases = f"{integer(first.n)} cases of {integer(first.patients)} patients"
        positive = (
            f", {integer(first.positives)} positive" if first.positives is not None and measure.label != "macro" else ""
        )
        where = f"{where}, {cases}{positive}"
    lines = tuple(_line(table, row, reading, digits_of(measure)) for row, reading in read)
    return _Section(_title(measure), where, _forest(table, at, digits_of(measure)), lines)


def _title(measure: Measure) -> str:
    metric = name_of(measure.metric)
    metric = metric if metric.isupper() else metric.lower()
    label = "macro" if measure.label == "macro" else finding(measure.label)
    group = f", {measure.group}" if measure.group else ""
    return f"{name_of(measure.result)}, {metric}, {label}{group}"


def _line(table: Table, row: TableRow, reading: Reading, digits: int) -> _Line:
    difference = reading.difference
    reason = REASONS.get(reading.reason, {"no_run": "no finished run"}.get(reading.reason, reading.reason))
    return _Line(
        labels=tuple(row.labels.values()),
        seeds=seeds_words(row, reading),
        mean=reason if reading.mean is None else _minus(f"{reading.mean:.{digits}f}"),
        sd="" if reading.sd is None else f"{reading.sd:.{digits}f}",
        over_seeds=_minus(range_words(reading.over_seeds, digits)),
        over_patients=_minus(range_words(reading.over_patients, digits)) + few_words(reading),
        difference="" if difference is None else _minus(f"{difference.value:+.{digits}f}"),
        patients=""
        if difference is None
        else _minus(range_words(difference.over_patients, digits, signed=True)) + few_words(reading),
        paired_seeds="" if difference is None else _minus(range_words(difference.over_seeds, digits, signed=True)),
        p="" if difference is None else p_words(difference.p_holm),
        reference=row.name == table.reference,
    )


def _forest(table: Table, at: int, digits: int) -> Forest | None:
    """Differences where there is a reference, else means; two marks a row, one for each kind of interval."""
    paired = table.reference is not None
    rows: list[tuple[str, str, float, tuple[Limits, Limits], bool]] = []
    for row in table.rows:
        reading, difference = row.readings[at], row.readings[at].difference
        words, few = ", ".join(row.labels.values()), bool(few_words(reading))
        if paired and difference is not None:
            seeds = f"{len(difference.seeds)} seed{'s' if len(difference.seeds) != 1 else ''}"
            rows.append((words, seeds, difference.value, (difference.over_patients, difference.over_seeds), few))
        elif not paired and reading.mean is not None:
            seeds = f"{len(reading.values)} seed{'s' if len(reading.values) != 1 else ''}"
            rows.append((words, seeds, reading.mean, (reading.over_patients, reading.over_seeds), few))
    if not rows:
        return None
    ends = [value for _, _, value, _, _ in rows] + ([0.0] if paired else [])
    ends += [end for *_, limits, _ in rows for each in limits for end in (each.low, each.high) if end is not None]
    ticks = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(min(ends), max(ends))
    low, spread = float(ticks[0]), float(ticks[-1] - ticks[0])

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - low) / spread, 2)

    laid = []
    for words, seeds, value, limits, few in rows:
        marks = tuple(
            Mark(
                series=name,
                style=style,
                at=place(value) or 0.0,
                low=place(each.low),
                high=place(each.high),
                value=_minus(f"{value:{'+' if paired else ''}.{digits}f}") if style == "series0" else "",
                interval=_minus(range_words(each, digits, signed=paired)),
                few=few and style == "series0",
            )
            for (style, name), each in zip(_LEGEND, limits, strict=True)
        )
        laid.append(ForestRow(words, seeds, marks, "", False))
    decimals = max(0, -math.floor(math.log10(float(ticks[1] - ticks[0])) + 1e-9))
    decimals += 0 if math.isclose(round(float(ticks[1] - ticks[0]), decimals), float(ticks[1] - ticks[0])) else 1
    words_at = tuple((place(float(t)) or 0.0, _minus(f"{float(t) + 0.0:.{decimals}f}")) for t in ticks)
    # Without a reference there is no line to stand out: it lies off the axis.
    return Forest(tuple(laid), words_at, (place(0.0) or 0.0) if paired else -100.0, _LEGEND, False)


def _run_line(table: Table, row: TableRow, run: RunFacts) -> _RunLine:
    values = []
    for measure, reading in zip(table.measures, row.readings, strict=True):
        value = reading.values.get(run.seed)
        values.append("" if value is None else f"{value:.{digits_of(measure)}f}")
    return _RunLine(row.name, run.folder.rpartition("/")[0], run, _STATES[run.state], tuple(values))


def _minus(words: str) -> str:
    return words.replace("-", "\u2212") if any(sign.isdigit() for sign in words) else words

"""The page of a grid: the tables of a sweep or of a suite with their forests, and what was run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from matplotlib.ticker import MaxNLocator

from medvlp.evaluation.cells import Limits, Measure, Reading, Table
from medvlp.evaluation.cells_words import digits_of, few_words, note_lines, range_words, reading_tables
from medvlp.evaluation.rows import subset_words
from medvlp.evaluation.suite import Suite, SuiteNumber, number_cells, published_table
from medvlp.evaluation.tables import Cell
from medvlp.evaluation.tables import Table as Written
from medvlp.evaluation.words import REASONS, finding, integer, name_of
from medvlp.pages.forest import Forest, ForestRow, Mark, mark_of, on_axis
from medvlp.pages.render import environment
from medvlp.statistics.table import METRICS

_LEGEND = (("series0", "over patients"), ("series1", "over seeds"))
_AUROC_TICKS = tuple((tick / 10, f"{tick / 10:.1f}") for tick in range(4, 11))
_HASH = 12  # digits of a hash that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A section of the page.

    Attributes:
        key: of its anchor.
        title: of it.
        lead: words below the title.
        forest: of the numbers.
        table: of them; rows with the same first words are of one thing.
        facts: heading -> name -> words.
    """

    key: str
    title: str
    lead: str = ""
    forest: Forest | None = None
    table: Written | None = None
    facts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


def render_sweep(table: Table, made: Mapping[str, Mapping[str, object]]) -> str:
    """Return the page of a sweep as HTML; every label and message is escaped.

    Args:
        table: the numbers.
        made: how it was made: heading -> name -> words.

    Example:
        >>> empty = Table(title="a <b>", measures=(), rows=(), reference=None, level=0.95, resamples=2000,
        ...               comparisons=0, synthetic=False, caveats=())
        >>> "<h1>a &lt;b&gt;</h1>" in render_sweep(empty, {})
        True
    """
    sections = [
        _measure_section(table, at, replace(written, notes=())) for at, written in enumerate(reading_tables(table))
    ]
    words = Written("", (), (), tuple(note_lines(table)))
    sections.append(_Section(key="words", title="What the numbers are", table=words))
    lead = "medvlp report FOLDER/seed-N draws the page of a single run."
    sections.append(_Section(key="runs", title="Runs", lead=lead, table=_sweep_runs(table)))
    sections.append(_Section(key="made", title="What was run", facts=made))
    banners = [("Mind", caveat) for caveat in table.caveats]
    return _render("Sweep", table, _sweep_summary(table), banners, sections)


def render_suite(suite: Suite) -> str:
    """Return the page of a suite as HTML; every label and message is escaped.

    Example:
        >>> empty = Suite(title="a <b>", model="x", bundle="", lines=(), numbers=(), published=())
        >>> "<h1>a &lt;b&gt;</h1>" in render_suite(empty)
        True
    """
    forest = _suite_forest(suite)
    lead = "Intervals are 95 %, over patients. A number marked as usual is the one that papers report on that data set"
    lead += "; the plot shows one AUROC a data set, the dashed line is chance." if forest is not None else "."
    sections = [_Section(key="numbers", title="Numbers", lead=lead, forest=forest, table=_suite_numbers(suite))]
    if suite.published:
        lead = "From the reproduction cards: the paper's number, what released weights gave to others, what others "
        lead += (
            "quote, and this suite's where its bundle is that model and the split is the same. An empty cell is not "
        )
        lead += "known. Published numbers are often of another split: read the notes before comparing."
        table = published_table(suite)
        sections.append(_Section(key="published", title="Published beside them", lead=lead, table=table))
    of = suite.models or {"The bundle": (suite.model, suite.bundle)}
    lead = "; ".join(f"{label} is {path} ({digest[:_HASH]})" for label, (path, digest) in of.items())
    lead += ". Each run's page is FOLDER/report.html."
    sections.append(_Section(key="runs", title="Runs", lead=lead, table=_suite_runs(suite)))
    banners = [(line.shown, text) for line in suite.lines for text in line.caveats]
    return _render("Suite", suite, _suite_summary(suite), banners, sections)


def _render(
    kind: str, of: Table | Suite, summary: str, banners: Sequence[tuple[str, str]], sections: Sequence[_Section]
) -> str:
    said = {"kind": kind, "title": of.title, "summary": summary, "banners": banners, "sections": sections}
    ways = {"minus": _minus, "is_cell": lambda entry: isinstance(entry, Cell)}
    return environment().get_template("grid.html.jinja").render(**said, **ways, synthetic=of.synthetic)


# sweep --------------------------------------------------------------------------------------------------------------


def _sweep_summary(table: Table) -> str:
    runs = [run for row in table.rows for run in row.runs]
    done = sum(run.state == "finished" for run in runs)
    words = f"{len(table.rows)} cells, {done} of {len(runs)} runs finished."
    if not table.measures:
        return words
    measure = table.measures[0]
    read = [(row, row.readings[0]) for row in table.rows if row.readings[0].mean is not None]
    if not read:
        return f"{words} Nothing is measured yet."
    kind = METRICS.get(measure.metric)
    digits, least = digits_of(measure), kind is not None and kind.better == "lower"
    best, reading = (min if least else max)(read, key=lambda pair: pair[1].mean or 0.0)
    words += f" {_title(measure)} is {'lowest' if least else 'highest'} for {best.name}: "
    over, around = f"{100 * table.level:g} % over patients", _minus(range_words(reading.over_patients, digits))
    words += f"{reading.mean:.{digits}f} ({over} {around}), the mean of {_seeds(len(reading.values))}"
    less = reading.difference
    if less is not None and less.over_patients.low is not None:
        around = _minus(range_words(less.over_patients, digits, signed=True))
        words += f", {_minus(f'{less.value:+.{digits}f}')} ({over} {around}) to {table.reference}"
    return f"{words}."


def _measure_section(table: Table, at: int, written: Written) -> _Section:
    measure = table.measures[at]
    first = next((reading for row in table.rows if (reading := row.readings[at]).n is not None), None)
    lead = f"Split: {measure.split}"
    if first is not None:
        lead += f", {integer(first.n)} cases of {integer(first.patients)} patients"
        if first.positives is not None and measure.label != "macro":
            lead += f", {integer(first.positives)} positive"
    forest = _sweep_forest(table, at)
    if forest is not None:
        shown = "means" if table.reference is None else f"each cell less {table.reference}"
        lead += f". The plot shows {shown}{'' if table.reference is None else '; the dashed line is no difference'}"
        lead += f". Intervals are {100 * table.level:g} %: over patients (other test patients, these models) and over "
        lead += "seeds (other trainings, these patients)"
    return _Section(
        key=f"measure-{at + 1}", title=_title(measure), lead=f"{lead}.", forest=forest, table=_stacked(written)
    )


def _stacked(written: Written) -> Written:
    """Return a table of readings whose two intervals stand below each other: a page is narrower than a file."""
    at = [i for i, name in enumerate(written.columns) if name == "over patients" and i >= written.words]
    columns = tuple("interval" if i in at else name for i, name in enumerate(written.columns) if i - 1 not in at)
    rows = []
    for row in written.rows:
        ends = {i: ((row[i], "patients"), (row[i + 1], "seeds")) for i in at}
        both = {i: "\n".join(f"{words} {of}" for words, of in pair if words) for i, pair in ends.items()}
        rows.append(tuple(both.get(i, entry) for i, entry in enumerate(row) if i - 1 not in at))
    return replace(written, columns=columns, rows=tuple(rows))


def _title(measure: Measure) -> str:
    metric = name_of(measure.metric)
    metric = metric if metric.isupper() else metric.lower()
    label = "macro" if measure.label == "macro" else finding(measure.label)
    return f"{name_of(measure.result)}, {metric}, {label}{f', {subset_words(measure.group)}' if measure.group else ''}"


def _sweep_forest(table: Table, at: int) -> Forest | None:
    """Differences where there is a reference, else means; two marks a row, one for each kind of interval."""
    paired, digits = table.reference is not None, digits_of(table.measures[at])
    rows, ends = [], [0.0] if paired else []
    for row in table.rows:
        reading = row.readings[at]
        of = reading.difference if paired else reading
        value = None if of is None else of.mean if isinstance(of, Reading) else of.value
        if of is None or value is None:
            continue
        limits, few = (of.over_patients, of.over_seeds), bool(few_words(reading))
        ends += [end for end in (value, *(e for each in limits for e in (each.low, each.high))) if end is not None]
        marks = [_mark(value, each, which, digits, few=few, signed=paired) for which, each in enumerate(limits)]
        count = len(of.values) if isinstance(of, Reading) else len(of.seeds)
        rows.append(ForestRow(", ".join(row.labels.values()), _seeds(count), tuple(marks), "", False))
    if not rows:
        return None
    top = max(*ends, min(ends) + 10.0**-digits)  # of equal numbers an axis as wide as their last digit
    ticks = [float(tick) for tick in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(min(ends), top)]
    step = ticks[1] - ticks[0]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    decimals += 0 if math.isclose(round(step, decimals), step) else 1
    axis = [(tick, _minus(f"{tick + 0.0:.{decimals}f}")) for tick in ticks]
    return replace(on_axis(rows, axis, line=0.0 if paired else None, legend=_LEGEND), few=False)


def _mark(value: float, limits: Limits, which: int, digits: int, *, few: bool, signed: bool) -> Mark:
    style, name = _LEGEND[which]
    words = "" if which else _minus(f"{value:{'+' if signed else ''}.{digits}f}")
    interval = _minus(range_words(limits, digits, signed=signed))
    return Mark(name, style, value, limits.low, limits.high, words, interval, few and not which)


def _sweep_runs(table: Table) -> Written:
    places = [digits_of(measure) for measure in table.measures]
    rows = [
        (
            row.name,
            run.folder,
            _state(run.state, run.reason),
            run.seed,
            *(
                Cell(each.values.get(run.seed), digits=digits)
                for each, digits in zip(row.readings, places, strict=True)
            ),
            round(run.seconds) or "",
            round(run.memory) or "",
        )
        for row in table.rows
        for run in row.runs
    ]
    columns = ("Cell", "folder", "state", "seed", *map(_title, table.measures), "seconds", "MB")
    return Written("Runs", columns, tuple(rows), words=3)


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"


# suite --------------------------------------------------------------------------------------------------------------


def _suite_summary(suite: Suite) -> str:
    done = [line for line in suite.lines if line.state == "finished"]
    words = f"One bundle on {len(done)} of {len(suite.lines)} data sets."
    if suite.models:
        words = f"{len(suite.models)} bundles, each on {len(suite.lines) // len(suite.models)} data sets: "
        words += f"{len(done)} of {len(suite.lines)} evaluations are finished."
    usual = sum(each.wanted.usual and each.row is not None and each.row.value is not None for each in suite.numbers)
    if not usual:
        return words
    missing = sum(each.row is None for each in suite.numbers)
    rest = f" {missing} more {'was' if missing == 1 else 'were'} asked for and not measured." if missing else ""
    return f"{words} {len(suite.numbers) - missing} numbers, {usual} of them such as papers report.{rest}"


def _suite_forest(suite: Suite) -> Forest | None:
    """AUROC of each data set, the usual one where there is one."""
    rows = []
    for line in suite.lines:
        areas = [each for each in suite.numbers if each.run == line.name and each.wanted.metric == "auroc"]
        known = [(each.row, each.wanted.usual) for each in areas if each.row is not None and each.row.value is not None]
        if known:
            row = max(known, key=lambda pair: pair[1])[0]
            words = finding(row.label) if row.counts.labels_used is None else f"macro of {row.counts.labels_used}"
            mark = mark_of(row, "auroc", "series0")
            rows.append(ForestRow(line.shown, f"{words}, {integer(row.counts.n)} cases", (mark,), "", False))
    return on_axis(rows, _AUROC_TICKS, line=0.5, legend=(("series0", "AUROC"),)) if rows else None


def _suite_numbers(suite: Suite) -> Written:
    lines = {line.name: line for line in suite.lines}
    rows = [
        (f"{lines[each.run].shown}, {lines[each.run].split}", *_number_words(each), *number_cells(each.row))
        for each in suite.numbers
    ]
    columns = ("Data set", "measure", "result", "finding", "value", "n", "positive", "patients", "findings")
    return Written("Numbers", columns, tuple(rows), words=4)


def _number_words(asked: SuiteNumber) -> tuple[str, str, str]:
    wanted, row = asked.wanted, asked.row
    note = "not measured" if row is None else REASONS.get(row.reason or "", row.reason or "")
    return (
        name_of(wanted.metric) + (" (usual)" if wanted.usual else ""),
        name_of(wanted.result, asked.title),
        f"{finding(wanted.label)}{asked.about}{f': {note}' if note else ''}",
    )


def _suite_runs(suite: Suite) -> Written:
    rows = [
        (
            line.folder,
            line.config,
            _state(line.state, line.reason, judged=True),
            line.recipe,
            line.data,
            line.split_hash[:_HASH],
            round(line.seconds) or "",
        )
        for line in suite.lines
    ]
    columns = ("Run", "configuration", "state", "recipe", "data", "split", "seconds")
    return Written("Runs", columns, tuple(rows), words=6)


# words --------------------------------------------------------------------------------------------------------------


def _state(state: str, reason: str, *, judged: bool = False) -> str:
    words = "begun, not finished" if state == "begun" else state
    words = {"finished": "judged", "not begun": "left out"}.get(state, words) if judged else words
    return f"{words}: {reason}" if reason else words


def _minus(words: str) -> str:
    return words.replace("-", "\u2212") if any(sign.isdigit() for sign in words) else words

"""Tables of results for a paper or a spreadsheet: one table, written as Markdown, LaTeX or CSV, beside JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvlp.core.errors import ConfigError
from medvlp.core.files import inert, write_json, write_text
from medvlp.evaluation.results import AVERAGES, Metric, Result
from medvlp.evaluation.rows import judged_split, released_map
from medvlp.statistics.few import FEW, FEW_PATIENTS, LEAST_PATIENTS, TOO_FEW

SYNTHETIC = "Synthetic data: the numbers prove the machinery, never clinical performance."


@dataclass(frozen=True, slots=True)
class Cell:
    """A number with its interval; None is an empty cell.

    Attributes:
        value: the number.
        low, high: its interval.
        digits: after the point.
        mark: of a note, such as ``"*"``.
        signed: it may be below 0, so the range is written with a word, as where it is: a minus beside a dash cannot be
            read.
        p: it is a p value, which is never 0: one that would be written so is below the last digit.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 3
    mark: str = ""
    signed: bool = False
    p: bool = False

    def number(self, dash: str = "-") -> str:
        """Return the number without its interval; `dash` where there is none."""
        if self.value is None:
            return dash
        if self.p and self.value < 10**-self.digits:
            return f"<{10**-self.digits:.{self.digits}f}"
        return f"{self.value:.{self.digits}f}"

    def range(self, between: str = " to ") -> str:
        """Return the interval; empty where there is none."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        return f"{self.low:.{self.digits}f}{between}{self.high:.{self.digits}f}"

    def text(self, dash: str = "-") -> str:
        """Return the number with its interval in brackets.

        Example:
            >>> Cell(0.8, 0.7, 0.9).text(), Cell(None).text(), Cell(1e-9, digits=4, p=True).text()
            ('0.800 (0.700-0.900)', '-', '<0.0001')
            >>> Cell(-0.1, -0.2, 0.1).text()
            '-0.100 (-0.200 to 0.100)'
        """
        below = self.low is not None and self.low < 0
        interval = self.range(" to " if self.signed or below else dash)
        return f"{self.number(dash)}{f' ({interval})' if interval else ''}{self.mark if self.value is not None else ''}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of results: rows by model or split, columns by metric.

    Attributes:
        caption: what it shows.
        columns: names.
        rows: each with a name and one entry for each other column; a row called like an average is set apart.
        notes: below it.
        words: first columns that are words, and stand to the left.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | Cell, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1


def score_table(result: Result) -> Table:
    """Return the table of a result's `judged_split`: a row a finding, then the averages.

    Sensitivity, specificity, predictive values and F1 are those at the first operating point. Numbers that were tuned
    on the test rows are given only where nothing was chosen on validation rows, in a column that says so.

    Args:
        result: of `medvlp score`.

    Raises:
        ConfigError: if no finding was ranked, as in a table of written reports.
    """
    chosen = judged_split(result.metrics)
    rows = [row for row in result.metrics if row.split == chosen and row.group is None]
    if not any(row.metric == "auroc" for row in rows):
        raise ConfigError(f"Result {result.name!r} ranks no finding, which a table is of: leave --table out.")
    at = next((row.operating_point for row in rows if row.metric == "sensitivity"), None)
    use = released_map(result, rows)
    shares = (("Sens.", "sensitivity"), ("Spec.", "specificity"), ("PPV", "ppv"), ("NPV", "npv"), ("F1", "f1"))
    wanted: list[tuple[str, str, str | None, str | None]]
    wanted = [("AUROC", "auroc", None, None), ("AP", "average_precision", None, None)]
    wanted += [(name, metric, at, None) for name, metric in shares if at is not None]
    wanted += [] if at is not None else [("oracle F1", "oracle_f1", "max_f1", None)]
    wanted += [] if use is None else [("Brier", "brier", None, use), ("ECE", "ece", None, use)]
    found = {(row.metric, row.operating_point, row.calibration, row.label): row for row in rows}
    wanted = [each for each in wanted if any(key[:3] == each[1:] for key in found)]
    labels = dict.fromkeys(row.label for row in rows if row.metric == "auroc")
    lines = tuple(
        (
            *_counted(found["auroc", None, None, label]),
            *(_cell(found.get((metric, op, use, label))) for _, metric, op, use in wanted),
        )
        for label in labels
    )
    return Table(
        caption=f"{result.title or result.name}{f', {chosen} split' if chosen else ''}",
        columns=("Finding", "n", "positive", "patients", *(name for name, *_ in wanted)),
        rows=lines,
        notes=(*([SYNTHETIC] if result.synthetic else []), *_notes(rows, at, use)),
    )


def comparison_table(result: Result, *, metric: str = "auroc", point: str | None = None) -> Table:
    """Return the table of one metric of a comparison.

    Args:
        result: of `medvlp compare`.
        metric: ``"auroc"``, ``"average_precision"``, ``"sensitivity"``, ...
        point: operating point, or the name of a calibration, for metrics that have one; by default ``platt``, else the
            first.

    Raises:
        ConfigError: if the comparison has no such metric, or not at that point.
    """
    made = [row for row in result.metrics if row.metric == f"{metric}_difference"]
    if not made:
        there = sorted({row.metric.removesuffix("_difference") for row in result.metrics})
        why = f"it has {', '.join(there)}" if there else "no finding has cases with it and without it"
        raise ConfigError(f"The comparison has no {metric!r}: {why}.")
    places = list(dict.fromkeys(row.operating_point or row.calibration for row in made))
    if point is not None and point not in places:
        there = ", ".join(str(each) for each in places if each is not None) or "no operating point"
        raise ConfigError(f"The comparison has {metric!r} at {there}, not at {point!r}: leave --point out or name one.")
    at = point if point is not None else "platt" if "platt" in places else places[0]
    rows = [row for row in made if (row.operating_point or row.calibration) == at]
    first, second = (str(result.options.get(key, {}).get("name", key)) for key in ("first", "second"))
    lines = tuple(
        (
            *_counted(row),
            Cell(row.test.first),
            Cell(row.test.second),
            replace(_cell(row), signed=True),
            Cell(row.test.p, digits=4, p=True),
            Cell(row.test.p_corrected, digits=4, p=True),
        )
        for row in rows
    )
    notes = [
        *([SYNTHETIC] if result.synthetic else []),
        f"Difference: second less first, with the {100 * rows[0].interval.level:g}% interval; "
        "paired, patients resampled together.",
        "p: DeLong's test for patients with several images (AUROC of one finding), else from the bootstrap; "
        "corrected after Holm for the findings compared.",
        *_legend(rows),
        *result.caveats,
    ]
    columns = ("Finding", "n", "positive", "patients", first, second, "difference", "p", "p corrected")
    shown = metric if at is None else f"{metric} ({at})"
    return Table(f"{shown}: {second} against {first}", columns, lines, tuple(notes))


def to_markdown(table: Table) -> str:
    """Return the table as GitHub Markdown."""
    lines = [f"**{table.caption}**", ""]
    lines.append("| " + " | ".join(in_a_row(name) for name in table.columns) + " |")
    lines.append("|" + " --- |" * table.words + " ---: |" * (len(table.columns) - table.words))
    for row in table.rows:
        cells = [in_a_row(_text(entry, "–")) for entry in row]
        cells[0] = f"**{cells[0]}**" if _is_average(row) else cells[0]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *table.notes]) + "\n"


def to_latex(table: Table) -> str:
    """Return the table for LaTeX with the package booktabs."""
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_escaped(table.caption)}}}"]
    numbers = len(table.columns) - table.words
    lines += [rf"\begin{{tabular}}{{{'l' * table.words}{'r' * numbers}}}", r"\toprule"]
    lines += [" & ".join(_escaped(name) for name in table.columns) + r" \\", r"\midrule"]
    for at, row in enumerate(table.rows):
        if _is_average(row) and at and not _is_average(table.rows[at - 1]):
            lines.append(r"\midrule")
        lines.append(" & ".join(_escaped(_text(entry, "--")) for entry in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\\ {{\footnotesize {_escaped(note)}}}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_csv(table: Table) -> str:
    """Return the table as CSV, an interval in two columns of its own, numbers with all their digits."""
    columns = range(len(table.columns))
    bounded = [any(isinstance(e := row[at], Cell) and e.low is not None for row in table.rows) for at in columns]
    header: list[str] = []
    for name, interval in zip(table.columns, bounded, strict=True):
        header += map(inert, [name, f"{name} low", f"{name} high"] if interval else [name])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        line: list[object] = []
        for entry, interval in zip(row, bounded, strict=True):
            if isinstance(entry, Cell):
                values = (entry.value, entry.low, entry.high) if interval else (entry.value,)
                line += ["" if value is None else repr(float(value)) for value in values]
            else:
                line.append(inert(str(entry)))
        writer.writerow(line)
    return buffer.getvalue()


def write_table(table: Table, path: Path) -> None:
    """Write a table in the form that the file's ending names: ``.md``, ``.tex`` or ``.csv``.

    Raises:
        ConfigError: for another ending.
    """
    check_table_path(path)
    write_text(path, _WRITERS[path.suffix](table))


def write_tables(
    folder: Path, tables: Sequence[Table], *, numbers: Table, document: Mapping[str, object], page: str
) -> None:
    """Write ``table.md`` and ``.tex`` of some tables, ``.csv`` of unrounded numbers, ``.json`` and ``.html``."""
    write_json(folder / "table.json", document)
    write_text(folder / "table.md", "\n".join(map(to_markdown, tables)))
    write_text(folder / "table.tex", "\n".join(map(to_latex, tables)))
    write_text(folder / "table.csv", to_csv(numbers))
    write_text(folder / "table.html", page)


def check_table_path(path: Path) -> None:
    """Refuse a table whose file name says no form, before the numbers are computed.

    Raises:
        ConfigError: for an ending other than ``.md``, ``.tex`` and ``.csv``.
    """
    if path.suffix not in _WRITERS:
        raise ConfigError(f"The table {path} has an ending that says no form: use .md, .tex or .csv.")


_WRITERS: dict[str, Callable[[Table], str]] = {".md": to_markdown, ".tex": to_latex, ".csv": to_csv}


def _counted(row: Metric) -> tuple[str | int, ...]:
    """Return the first entries of a line: the finding's name, rows, positive rows, patients."""
    average = row.label in AVERAGES
    name = f"{row.label} average ({row.counts.labels_used})" if average else row.label.replace("_", " ")
    return (name, row.counts.n, "" if row.counts.positives is None else row.counts.positives, row.counts.patients)


def _is_average(row: Sequence[object]) -> bool:
    return str(row[0]).partition(" ")[0] in AVERAGES and " average (" in str(row[0])


def _cell(row: Metric | None) -> Cell:
    if row is None:
        return Cell(None)
    mark = "*" if row.reason in FEW else "**" if row.reason in TOO_FEW else ""
    return Cell(row.value, row.interval.low, row.interval.high, mark=mark)


def _notes(rows: Sequence[Metric], point: str | None, use: str | None) -> tuple[str, ...]:
    areas = [row for row in rows if row.metric == "auroc"]
    area = next((row for row in areas if row.interval.resamples), areas[0])  # some findings have no bootstrap interval
    made = area.interval
    notes = [
        f"{100 * made.level:g}% intervals over patients; AUROC and AP: {made.form} of {made.resamples or 0} resamples. "
        f"Uncertain labels: {area.policy}."
    ]
    if point is not None:
        notes.append(f"Thresholds were chosen on validation patients by the rule {point} and then left alone.")
    if use is not None:
        made = "of the scores as they are" if use == "none" else f"after {use} calibration on validation patients"
        notes.append(f"Brier score and calibration error (bias-corrected) {made}.")
    if any(row.metric == "oracle_f1" for row in rows) and point is None:
        notes.append("oracle: the threshold was tuned on these very cases, an upper bound and no result.")
    return (*notes, *_legend(rows))


def _legend(rows: Sequence[Metric]) -> list[str]:
    """What the marks of `_cell` mean that stand in these rows."""
    marks = {
        f"* {FEW_PATIENTS} patients or fewer of one class (a mean: 4 of a finding): the interval is optimistic.": FEW,
        f"** Fewer than {LEAST_PATIENTS} patients of one class: no interval.": TOO_FEW,
    }
    return [words for words, reasons in marks.items() if any(row.reason in reasons for row in rows)]


def _text(entry: str | int | Cell, dash: str) -> str:
    return entry.text(dash) if isinstance(entry, Cell) else str(entry)


def in_a_row(text: str) -> str:
    """Return words as a cell of a Markdown table: in one line, no bar of them ends the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {each: "\\" + each for each in "&%$#_{}"} | {each: f"${each}$" for each in "<>|"}
    return "".join(special.get(each, each) for each in text)

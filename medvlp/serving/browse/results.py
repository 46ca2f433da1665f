"""Metrics of a result as a table, and two results compared as `medvlp compare` does it."""

from __future__ import annotations

import pandas as pd

from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.results import Result
from medvlp.evaluation.tables import Cell, Table, comparison_table
from medvlp.evaluation.words import finding, p_value

SYNTHETIC = "Synthetic patients: these numbers prove the machinery and say nothing about clinical performance."
_COLUMNS = ["finding", "value", "low", "high", "n", "positive", "patients", "chance", "split", "at", "remark", "group"]


def metric_names(result: Result) -> list[str]:
    """Return the metrics that a result has, in its order."""
    return list(dict.fromkeys(row.metric for row in result.metrics))


def metric_table(result: Result, metric: str, *, groups: bool = False) -> pd.DataFrame:
    """Return a row a number, with its interval and n; those of subgroups, and their column, only where asked for.

    ``at`` is the operating point or calibration; an empty cell is not defined, and ``remark`` says why.
    """
    rows = [
        (
            finding(row.label) + (f" of {many}" if (many := row.counts.labels_used) else ""), three(row.value),
            three(row.interval.low), three(row.interval.high), row.counts.n,
            "" if row.counts.positives is None else row.counts.positives, row.counts.patients,
            three(row.chance), row.split, row.operating_point or row.calibration or "",
            (row.reason or "").replace("_", " "), row.group or "",
        )
        for row in result.metrics
        if row.metric == metric and (groups or row.group is None)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=pd.Index(_COLUMNS))
    return table if groups else table.drop(columns="group")


def notes_of(result: Result) -> str:
    """Return what must be read before the numbers, as Markdown: synthetic patients, caveats, flags, hashes."""
    sentences = [f"**{SYNTHETIC}**"] if result.synthetic else []
    sentences += [*result.caveats, *(flag.sentence for flag in result.flags)]
    level = next(
        (f"{100 * row.interval.level:g}% intervals. " for row in result.metrics if row.interval.low is not None), ""
    )
    origin = f"{level}Recipe `{result.recipe}`, data `{result.data}`, split `{result.split or '-'}`."
    return "\n\n".join(
        [f"{result.title or result.name}{' (control)' if result.role == 'control' else ''}", *sentences, origin]
    )


def compared(first: Result, second: Result, metric: str, *, common: bool = False) -> tuple[pd.DataFrame, str]:
    """Return the table of one metric of a paired comparison, second less first, and its notes as Markdown.

    Raises:
        DataError: they are of other cases, labels or patients; see `compare_results`.
        ConfigError: neither has the metric.
    """
    found = compare_results(first, second, common=common)
    table = comparison_table(found, metric=metric)
    notes = [f"**{SYNTHETIC}**"] if found.synthetic else []
    stars = (note.replace("*", "\\*") for note in table.notes)  # else they are a list's and of bold letters
    return _frame(table), "\n\n".join([table.caption, *notes, *stars])


def _frame(table: Table) -> pd.DataFrame:
    rows = [[_text(entry) for entry in row] for row in table.rows]
    both = [(name, "first" if at == table.columns.index(name) else "second") for at, name in enumerate(table.columns)]
    names = [f"{name} ({side})" if table.columns.count(name) > 1 else name for name, side in both]
    return pd.DataFrame(rows, columns=pd.Index(names))


def _text(entry: str | int | Cell) -> str | int:
    if not isinstance(entry, Cell):
        return entry
    return p_value(entry.value) if entry.p else entry.text("–")


def three(value: float | None) -> str:
    """Return a number as tables show it; of none nothing."""
    return "" if value is None else f"{value:.3f}"

"""Masks and boxes on the page: one table a result, a row a finding, a column a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.results import AVERAGES, Metric, Result
from medvlp.evaluation.rows import only

_COLUMNS = {
    "dice": "Dice",
    "lowest_dice": "Lowest case",
    "false_alarm": "False alarms",
    "ap": "AP (IoU {})",
    "ap_difference": "less the control (IoU {})",
}


@dataclass(frozen=True, slots=True)
class PlacesRow:
    """A finding or the mean of all, its first metric for the counts, and one cell a column."""

    label: str
    total: bool
    cells: tuple[Metric | None, ...]

    @property
    def first(self) -> Metric | None:
        """The first metric that there is."""
        return next((cell for cell in self.cells if cell is not None), None)


@dataclass(frozen=True, slots=True)
class PlacesTable:
    """A result, the words of its columns, its rows."""

    result: Result
    columns: tuple[str, ...]
    rows: tuple[PlacesRow, ...]


def places_tables(results: Sequence[Result]) -> list[PlacesTable]:
    """Return the tables of masks and of boxes; a difference from a control stands in the row of the mean.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> row = Metric(metric="dice", label="lung", value=0.9, counts=Counts(n=4, patients=3))
        >>> (table,) = places_tables([Result(name="segmentation", recipe="", data="", metrics=(row,))])
        >>> table.columns, [each.label for each in table.rows]
        (('Dice',), ['lung'])
    """
    found = []
    for result in results:
        own = [row for row in result.metrics if row.group is None and _is_of_places(row.metric)]
        names = list(dict.fromkeys(row.metric for row in own))
        cells = {(row.metric, "macro" if row.metric.startswith("ap_difference") else row.label): row for row in own}
        labels = sorted(dict.fromkeys(label for _, label in cells), key=lambda label: label in AVERAGES)
        rows = [PlacesRow(label, label in AVERAGES, tuple(cells.get((n, label)) for n in names)) for label in labels]
        if any(_leads(name) for name in names):
            found.append(PlacesTable(result, tuple(_words(name) for name in names), tuple(rows)))
    return found


def mean_of_places(results: Sequence[Result]) -> list[tuple[Result, str, Metric]]:
    """Return the mean over findings of each model's masks and boxes: its result, the metric in words, the row."""
    found = []
    for table in places_tables([result for result in results if result.role == "model"]):
        metric = next(row.metric for row in table.result.metrics if _leads(row.metric))
        row = only(table.result, metric, "macro")
        if row is not None and row.value is not None:
            found.append((table.result, f"mean {_words(metric)}", row))
    return found


def _is_of_places(metric: str) -> bool:
    """Maps have ``dice@0.3`` at a threshold, and a section of their own."""
    name, at, _ = metric.partition("@")
    return name in _COLUMNS and bool(at) == name.startswith("ap")


def _leads(metric: str) -> bool:
    return metric == "dice" or metric.startswith("ap@")


def _words(metric: str) -> str:
    name, _, overlap = metric.partition("@")
    return _COLUMNS[name].format(overlap)

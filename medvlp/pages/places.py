"""Masks and boxes, and what has no section of its own: one table a result, a row a finding, a column a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.results import AVERAGES, Metric, Result
from medvlp.evaluation.rows import judged_rows, of_a_ranking, only
from medvlp.evaluation.words import group_words, name_of

_COLUMNS = {
    "dice": "Dice",
    "lowest_dice": "Lowest case",
    "false_alarm": "False alarms",
    "ap": "AP (IoU {})",
    "ap_difference": "less the control (IoU {})",
    "dice_difference": "less the control",
}
# differences from a control that stand in the rows of findings, or of all
_LESS = {"ap_difference": "macro", "dice_difference": "macro", "accuracy_difference": "all"}
_MAPS = ("pointing_game", "map_of_random_weights", "map_between_images", "map_between_findings")
_ELSEWHERE = {"auroc", "auroc_difference", "gate_held_back", "dice", "ap", *_MAPS}
_RANKS = ("recall", "median_rank", "mean_rank")
# metric and label
_WHOLE = {("f1", "micro"): "micro F1 of findings", ("accuracy", "all"): "accuracy", ("recall@5", "all"): "recall@5"}
_RATES = ("unknown_share", "true_contradicted", "false_supported")


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
        >>> (table,) = places_tables([Result(name="segmentation", metrics=(row,))])
        >>> table.columns, [each.label for each in table.rows]
        (('Dice',), ['lung'])
    """
    parts = (
        (each, [row for row in each.metrics if row.group is None and _is_of_places(row.metric)]) for each in results
    )
    return [_table(result, own) for result, own in parts if any(_leads(row.metric) for row in own)]


def other_tables(results: Sequence[Result]) -> list[PlacesTable]:
    """Return the tables of results of which no section shows a number but ranks: written reports, questions, prompts.

    Of a sentence check, whose AUROCs have a section, the rates of its verdicts.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> row = Metric(metric="f1", label="edema", value=0.9, counts=Counts(n=4, patients=3), group="site=north")
        >>> (table,) = other_tables([Result(name="report_text", metrics=(row,))])
        >>> table.columns, [each.label for each in table.rows]
        (('F1',), ['edema, site north'])
    """
    found = []
    for result in results:
        names = [row.metric.partition("@")[0] for row in judged_rows(result.metrics)]
        shown = set(names) - set(_RANKS) if _ELSEWHERE.isdisjoint(names) else _RATES
        own = [
            row
            for row, name in zip(judged_rows(result.metrics), names, strict=True)
            if name in shown or (name == "recall" and row.value is not None and not of_a_ranking(row))
        ]
        if own:
            found.append(_table(result, own))
    return found


def _table(result: Result, own: Sequence[Metric]) -> PlacesTable:
    names = list(dict.fromkeys(row.metric for row in own))
    cells = {(row.metric, _row_of(row)): row for row in own}
    labels = sorted(dict.fromkeys(label for _, label in cells), key=lambda label: label in AVERAGES)
    rows = [PlacesRow(label, label in AVERAGES, tuple(cells.get((n, label)) for n in names)) for label in labels]
    return PlacesTable(result, tuple(_words(name) for name in names), tuple(rows))


def _row_of(row: Metric) -> str:
    every = _LESS.get(row.metric.partition("@")[0])
    label = row.label if every is None else row.label.partition("/")[2] or every
    return label if row.group is None else f"{label}, {group_words(row.group)}"


def leading_rows(results: Sequence[Result]) -> list[tuple[Result, str, Metric]]:
    """Return one number of each model's masks, boxes, written reports, answers and relations: result, metric, row."""
    ours = [result for result in results if result.role == "model"]
    leads = [
        (table.result, next(row.metric for row in table.result.metrics if _leads(row.metric)))
        for table in places_tables(ours)
    ]
    rows = [(result, f"mean {_words(metric)}", only(result, metric, "macro")) for result, metric in leads]
    rows += [
        (each.result, words, only(each.result, *row)) for each in other_tables(ours) for row, words in _WHOLE.items()
    ]
    return [(result, words, row) for result, words, row in rows if row is not None and row.value is not None]


def _is_of_places(metric: str) -> bool:
    """Maps have ``dice@0.3`` at a threshold, and a section of their own."""
    name, at, _ = metric.partition("@")
    return name in _COLUMNS and bool(at) == name.startswith("ap")


def _leads(metric: str) -> bool:
    return metric == "dice" or metric.startswith("ap@")


def _words(metric: str) -> str:
    name, _, overlap = metric.partition("@")
    return _COLUMNS[name].format(overlap) if name in _COLUMNS else name_of(metric)

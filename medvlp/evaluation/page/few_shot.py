"""Few shots on the page: each finding by number of shots, models and controls side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.page.words import finding, name_of
from medvlp.evaluation.results import Metric, Result

__all__ = ["FewShotTable", "few_shot_tables"]

_METRIC = "auroc@"


@dataclass(frozen=True, slots=True)
class FewShotTable:
    """One result: the numbers of shots, and for each finding a row with a cell for each of them, macro last."""

    name: str
    control: bool
    shots: tuple[int, ...]
    rows: tuple[tuple[str, tuple[Metric | None, ...]], ...]
    draws: int


def few_shot_tables(results: Sequence[Result]) -> list[FewShotTable]:
    """Return the tables of results that have few shots.

    Example:
        >>> row = Metric(metric="auroc@4", label="edema", value=0.7, n=10, patients=8, draws=5)
        >>> table = few_shot_tables([Result(name="few_shot", recipe="", data="", metrics=(row,))])[0]
        >>> table.shots, table.draws, [name for name, _ in table.rows]
        ((4,), 5, ['edema'])
    """
    tables = []
    for result in results:
        some = [row for row in result.metrics if row.metric.startswith(_METRIC)]
        if not some:
            continue
        shots = sorted({int(row.metric.removeprefix(_METRIC)) for row in some})
        labels = sorted(dict.fromkeys(row.label for row in some), key=lambda label: label == "macro")
        cells = {(row.label, row.metric): row for row in some}
        rows = tuple(
            (_words(label, cells), tuple(cells.get((label, f"{_METRIC}{count}")) for count in shots))
            for label in labels
        )
        drawn = max((row.draws or 0 for row in some), default=0)
        tables.append(
            FewShotTable(name_of(result.name, result.title), result.role == "control", tuple(shots), rows, drawn)
        )
    return tables


def _words(label: str, cells: dict[tuple[str, str], Metric]) -> str:
    if label != "macro":
        return finding(label)
    row = next(row for (name, _), row in cells.items() if name == "macro")
    least = f", at least {row.min_positives} positive" if row.min_positives else ""
    return f"macro average over {row.labels_used}{least}"

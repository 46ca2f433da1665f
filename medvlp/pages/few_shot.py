"""Few shots on the page: each finding by number of shots, models and controls side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.words import finding, name_of

_METRIC = "auroc@"


@dataclass(frozen=True, slots=True)
class FewShotTable:
    """One result: the numbers of shots, and for each finding a row with a cell for each of them, macro last.

    `about` says how often was drawn, and what the macro average is over.
    """

    name: str
    control: bool
    shots: tuple[int, ...]
    rows: tuple[tuple[str, tuple[Metric | None, ...]], ...]
    about: str


def few_shot_tables(results: Sequence[Result]) -> list[FewShotTable]:
    """Return the tables of results that have few shots.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> row = Metric(metric="auroc@4", label="edema", value=0.7, counts=Counts(n=10, patients=8, draws=5))
        >>> table = few_shot_tables([Result(name="few_shot", metrics=(row,))])[0]
        >>> table.shots, table.about, [name for name, _ in table.rows]
        ((4,), '5 draws', ['edema'])
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
            (
                "macro average" if label == "macro" else finding(label),
                tuple(cells.get((label, f"{_METRIC}{count}")) for count in shots),
            )
            for label in labels
        )
        name = name_of(result.name, result.title)
        tables.append(FewShotTable(name, result.role == "control", tuple(shots), rows, _about(some)))
    return tables


def _about(rows: Sequence[Metric]) -> str:
    words = f"{max((row.counts.draws or 0 for row in rows), default=0)} draws"
    macros = [row.counts for row in rows if row.label == "macro"]
    if not macros:
        return words
    least = f" with at least {macros[0].min_positives} positive" if macros[0].min_positives else ""
    few, many = (end(counts.labels_used or 0 for counts in macros) for end in (min, max))
    noun = "finding" if few == many == 1 else "findings"
    over = f"{many} {noun}" if few == many else f"{few} to {many} findings, not the same for all shots"
    return f"{words}; macro average over {over}{least}"

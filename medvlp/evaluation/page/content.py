"""What the page says: headline, forest plot, tables and controls, as plain rows for the template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.evaluation.page.words import REASONS, finding, integer, interval, name_of, number
from medvlp.evaluation.results import AVERAGES, Metric, Result

__all__ = [
    "Dimension",
    "Forest",
    "ForestRow",
    "Mark",
    "RetrievalRow",
    "Tile",
    "control_forest",
    "dimensions",
    "finding_forest",
    "headline_of",
    "metric_rows",
    "retrieval_rows",
    "summary_of",
    "tiles_of",
]


@dataclass(frozen=True, slots=True)
class Tile:
    """A headline number: what, value, its uncertainty, and what to compare it with."""

    name: str
    value: str
    uncertainty: str
    against: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with its interval on a forest row, in percent of the axis.

    `style` is a class of the style sheet; `few` says that few positives make the interval optimistic.
    """

    series: str
    style: str
    at: float
    low: float | None
    high: float | None
    value: str
    interval: str
    few: bool


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One row: a name, its cases, the marks, and whether it is set apart as a summary."""

    name: str
    cases: str
    marks: tuple[Mark, ...]
    note: str
    summary: bool


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows over one axis; ticks are ``(percent, words)``, chance is in percent; `few` if any mark is."""

    rows: tuple[ForestRow, ...]
    ticks: tuple[tuple[float, str], ...]
    chance: float
    legend: tuple[tuple[str, str], ...]
    few: bool


@dataclass(frozen=True, slots=True)
class Dimension:
    """AUROC by one group column: a forest of its macro averages and a table of findings."""

    name: str
    forest: Forest
    values: tuple[str, ...]
    table: tuple[tuple[str, tuple[Metric | None, ...]], ...]


@dataclass(frozen=True, slots=True)
class RetrievalRow:
    """One direction and subset: recall rows by k, then the ranks."""

    direction: str
    subset: str
    n: int
    pool: int
    recalls: tuple[Metric, ...]
    median: Metric | None
    mean: Metric | None


def headline_of(results: Sequence[Result]) -> Result | None:
    """Return the first model result that has a macro AUROC."""
    return next((result for result in results if result.role == "model" and _macro(result)), None)


def summary_of(results: Sequence[Result]) -> str:
    """Return one sentence that says what was found, on how many, and against what.

    Example:
        >>> row = Metric(metric="auroc", label="macro", value=0.8, low=0.7, high=0.9, n=40, patients=30, labels_used=3,
        ...              split="test")
        >>> summary_of([Result(name="zero_shot", recipe="", data="", metrics=(row,))])
        'Zero-shot: macro AUROC 0.800 (95 % interval 0.700 to 0.900) over 3 findings, on 40 test cases of 30 patients.'
    """
    best, retrieval = headline_of(results), _retrieval_headline(results)
    compared = _comparison_headline(results)
    if best is None and compared is not None:
        found, row = compared
        p = "" if row.p is None else f"; p = {row.p:.4f}"
        return (
            f"{found.title}: AUROC{' of the macro average' if row.label == 'macro' else f' of {finding(row.label)}'} "
            f"{number(row.first)} and {number(row.second)}, difference {_with_interval(row)}{p}, on {integer(row.n)} "
            f"cases of {integer(row.patients)} patients."
        )
    if best is None:
        if retrieval is None:
            return "No result has a macro AUROC or a recall; the tables below show what there is."
        return (
            f"{_upper(finding(retrieval.label))} {retrieval.metric} is {_with_interval(retrieval)} over "
            f"{integer(retrieval.n)} queries and a pool of {integer(retrieval.pool)}; a random ranking reaches "
            f"{number(retrieval.chance)}."
        )
    row = _macro(best)
    assert row is not None, "headline_of returns results with a macro AUROC"
    split = f"{row.split} " if row.split else ""
    words = (
        f"{name_of(best.name, best.title)}: macro AUROC {_with_interval(row)} over {row.labels_used} "
        f"finding{'s' if row.labels_used != 1 else ''}, on {integer(row.n)} {split}cases "
        f"of {integer(row.patients)} patients"
    )
    controls = [m.value for r in results if r.role == "control" if (m := _macro(r)) is not None and m.value is not None]
    if controls:
        strongest = max(controls)
        beaten = row.value is not None and strongest >= row.value
        words += f"; the {'strongest ' if len(controls) > 1 else ''}control reaches {number(strongest)}"
        words += ", which the model does not beat" if beaten else ""
    return f"{words}."


def tiles_of(results: Sequence[Result]) -> list[Tile]:
    """Return the headline numbers: macro AUROC of each model, average precision, retrieval, cohort."""
    tiles = []
    best = headline_of(results)
    for result in results:
        row = _macro(result)
        if result.role == "model" and row is not None:
            several = row.labels_used != 1
            against = (
                f"over {row.labels_used} findings; chance is 0.5" if several else f"n {integer(row.n)}; chance is 0.5"
            )
            name = f"{name_of(result.name, result.title)}: {'macro AUROC' if several else 'AUROC'}"
            tiles.append(Tile(name, number(row.value), interval(row), against))
    retrieval = _retrieval_headline(results)
    if retrieval is not None:
        ratio = retrieval.value / retrieval.chance if retrieval.value and retrieval.chance else 0.0
        times = f"{ratio:.{0 if ratio >= 3 else 1}f} times " if ratio else ""
        name = f"Recall@{retrieval.metric.partition('@')[2]}, {finding(retrieval.label)}"
        against = f"{times}a random ranking ({number(retrieval.chance)})"
        tiles.append(Tile(name, number(retrieval.value), interval(retrieval), against))
    if best is not None:
        row = _macro(best)
        precision = _only(best, "average_precision", "macro")
        if precision is not None and precision.value is not None:
            against = f"a random ranking: {number(precision.chance)}"
            tiles.append(Tile("Macro average precision", number(precision.value), interval(precision), against))
        if row is not None:
            tiles.append(
                Tile("Cases", integer(row.n), f"{integer(row.patients)} patients", f"split: {row.split or 'not named'}")
            )
    return tiles


def finding_forest(results: Sequence[Result]) -> Forest | None:
    """Return AUROC per finding, one mark a result that shares findings with the headline, macro last."""
    best = headline_of(results)
    if best is None:
        return None
    # A result on other labels (one that tells left from right, say) is no further reading of the same findings.
    asked = _findings(best)
    alike = [result for result in results if _macro(result) and asked & _findings(result)]
    series = [(result, f"series{min(at, 3)}") for at, result in enumerate(alike)]
    labels = list(dict.fromkeys(row.label for result, _ in series for row in result.metrics if _plain_auroc(row)))
    ordered = [label for label in labels if label not in AVERAGES] + ["macro"]
    rows = []
    for label in ordered:
        found = [(result, style, _only(result, "auroc", label)) for result, style in series]
        present = [(result, style, row) for result, style, row in found if row is not None]
        first = present[0][2]
        cases = (
            f"{integer(first.positives)} of {integer(first.n)}" if label != "macro" else f"{first.labels_used} findings"
        )
        rows.append((finding(label) if label != "macro" else "macro average", cases, present, first, label == "macro"))
    legend = tuple((style, name_of(result.name, result.title)) for result, style in series)
    return _forest(rows, legend)


def control_forest(result: Result, group_name: str) -> Forest:
    """Return the macro AUROC of each value of a group, everybody last."""
    rows = []
    for value in _values(result, group_name):
        row = _only(result, "auroc", "macro", f"{group_name}={value}")
        if row is not None:
            rows.append((finding(value), f"{integer(row.n)} cases", [(result, "series0", row)], row, False))
    everybody = _macro(result)
    if everybody is not None:
        rows.append(("everybody", f"{integer(everybody.n)} cases", [(result, "series0", everybody)], everybody, True))
    return _forest(rows, ())


def dimensions(result: Result) -> list[Dimension]:
    """Return AUROC by each group column of a result."""
    grouped = [row for row in result.metrics if row.group and row.metric == "auroc"]
    names = list(dict.fromkeys(str(row.group).partition("=")[0] for row in grouped))
    found = []
    for name in names:
        values = _values(result, name)
        labels = list(dict.fromkeys(row.label for row in grouped if str(row.group).partition("=")[0] == name))
        table = tuple(
            (
                "macro average" if label == "macro" else finding(label),
                tuple(_only(result, "auroc", label, f"{name}={value}") for value in values),
            )
            for label in sorted(labels, key=lambda label: label == "macro")
        )
        found.append(Dimension(name, control_forest(result, name), tuple(values), table))
    return found


def metric_rows(result: Result) -> list[tuple[Metric, Metric | None]]:
    """Return pairs (AUROC row, average precision row) of everybody, per split and finding."""
    precision = {(r.label, r.split): r for r in result.metrics if r.metric == "average_precision" and r.group is None}
    return [(row, precision.get((row.label, row.split))) for row in result.metrics if _plain_auroc(row)]


def retrieval_rows(result: Result) -> list[RetrievalRow]:
    """Return the retrieval rows of a result by direction and subset."""
    keys = list(dict.fromkeys((r.label, r.group) for r in result.metrics if r.metric.startswith("recall@")))
    rows = []
    for label, group in keys:
        members = [row for row in result.metrics if (row.label, row.group) == (label, group)]
        recalls = tuple(row for row in members if row.metric.startswith("recall@"))
        by_name = {row.metric: row for row in members}
        rows.append(
            RetrievalRow(
                direction=finding(label),
                subset=_subset_words(group),
                n=recalls[0].n,
                pool=recalls[0].pool or 0,
                recalls=recalls,
                median=by_name.get("median_rank"),
                mean=by_name.get("mean_rank"),
            )
        )
    return rows


_RowParts = tuple[str, str, list[tuple[Result, str, Metric]], Metric, bool]


def _forest(rows: Sequence[_RowParts], legend: tuple[tuple[str, str], ...]) -> Forest:
    """Lay rows on an axis from the lowest limit (0.4 or less) to 1."""
    limits = [v for _, _, marks, _, _ in rows for *_, m in marks for v in (m.low, m.value) if v is not None]
    low = max(0.0, min(0.4, math.floor(10 * min(limits, default=0.4)) / 10))

    def at(value: float) -> float:
        return round(100 * (value - low) / (1 - low), 2)

    laid = []
    for name, cases, present, first, summary in rows:
        marks = tuple(
            Mark(
                series=name_of(result.name, result.title),
                style=style,
                at=at(row.value),
                low=None if row.low is None else at(row.low),
                high=None if row.high is None else at(row.high),
                value=number(row.value),
                interval=interval(row),
                few=row.reason == "few_positives",
            )
            for result, style, row in present
            if row.value is not None
        )
        laid.append(ForestRow(name, cases, marks, REASONS.get(first.reason or "", ""), summary))
    few = any(mark.few for row in laid for mark in row.marks)
    steps = [low + 0.1 * step for step in range(round((1 - low) * 10) + 1)]
    return Forest(tuple(laid), tuple((at(step), f"{step:.1f}") for step in steps), at(0.5), legend, few)


def _plain_auroc(row: Metric) -> bool:
    return row.metric == "auroc" and row.group is None


def _only(result: Result, metric: str, label: str, group: str | None = None) -> Metric | None:
    """Return the row, of the test split where there are several."""
    rows = [r for r in result.metrics if (r.metric, r.label, r.group) == (metric, label, group)]
    return next((r for r in rows if r.split == "test"), rows[-1] if rows else None)


def _macro(result: Result) -> Metric | None:
    row = _only(result, "auroc", "macro")
    return row if row is not None and row.value is not None else None


def _findings(result: Result) -> set[str]:
    return {row.label for row in result.metrics if _plain_auroc(row)} - set(AVERAGES)


def _values(result: Result, name: str) -> list[str]:
    groups = dict.fromkeys(row.group for row in result.metrics if row.group and row.group.startswith(f"{name}="))
    return sorted(group.partition("=")[2] for group in groups)


def _retrieval_headline(results: Sequence[Result]) -> Metric | None:
    """Return recall at 5 (else the first k) of report -> image, on small groups where that was measured."""
    rows = [
        row
        for result in results
        for row in result.metrics
        if row.metric.startswith("recall@") and row.value is not None
    ]
    order = sorted(rows, key=lambda r: (r.label != "report_to_image", r.group is None, r.metric != "recall@5"))
    return order[0] if order else None


def _comparison_headline(results: Sequence[Result]) -> tuple[Result, Metric] | None:
    """Return the macro AUROC difference of the first comparison, else that of its first finding."""
    for result in results:
        rows = [row for row in result.metrics if row.metric == "auroc_difference" and row.value is not None]
        if rows:
            return result, next((row for row in rows if row.label == "macro"), rows[0])
    return None


def _subset_words(group: str | None) -> str:
    if group is None:
        return "all queries"
    name, _, most = group.partition("<=")
    return f"reports of at most {most} studies" if name == "report_group" else group


def _with_interval(row: Metric) -> str:
    around = f" ({row.level * 100:g} % interval {interval(row)})" if interval(row) else ""
    return number(row.value) + around


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]

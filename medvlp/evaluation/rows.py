"""Rows of results as the page's sections ask for them; nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medvlp.evaluation.cells import ReportedNumber
from medvlp.evaluation.results import AVERAGES, Metric, Result
from medvlp.evaluation.words import finding, group_words

FITTED_SPLITS = ("train", "training", "validate")
"""Names of splits that something was fitted or chosen on."""


def released_map(result: Result, rows: Iterable[Metric]) -> str | None:
    """Return the map that is released (`ScoreOptions.calibration`), of those that rows have numbers of.

    Args:
        result: with its options; one that was scored with ``--probabilities`` releases the scores as they are.
        rows: of a split.

    Returns:
        The first map where that one has no numbers; None where nothing was calibrated.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> rows = [Metric(metric="brier", label="edema", value=0.2, counts=Counts(n=9, patients=9), calibration=name)
        ...         for name in ("none", "platt", "isotonic")]
        >>> released_map(Result(name="scores", metrics=(*rows,)), rows)
        'platt'
    """
    maps = list(dict.fromkeys(row.calibration for row in rows if row.metric == "brier" and row.value is not None))
    wanted = "none" if result.options.get("probabilities") else str(result.options.get("calibration", "platt"))
    return wanted if wanted in maps else maps[0] if maps else None


def asked_row(result: Result, asked: ReportedNumber, split: str) -> Metric | None:
    """Return the number of a split, or of none, at the first operating point or by the released calibration."""
    rows = [row for row in result.metrics if row.split in ("", split)]
    own = [r for r in rows if (r.metric, r.label, r.group) == (asked.metric, asked.label, asked.group)]
    used = released_map(result, rows)
    return min(own, key=lambda row: row.calibration not in (None, used), default=None)


_SUBSETS = {"label_equal": "studies with the same findings"}


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
    """Return the first model result of several findings; where their mean is not defined it is no later result's."""
    ours = (each for each in results if each.role == "model" and only(each, "auroc", "macro"))
    return next((each for each in ours if any(plain_auroc(r) and r.value is not None for r in each.metrics)), None)


def metric_rows(result: Result) -> list[tuple[Metric, Metric | None]]:
    """Return pairs (AUROC row, average precision row) of everybody, per split and finding."""
    precision = {(r.label, r.split): r for r in result.metrics if r.metric == "average_precision" and r.group is None}
    return [(row, precision.get((row.label, row.split))) for row in result.metrics if plain_auroc(row)]


def retrieval_rows(result: Result) -> list[RetrievalRow]:
    """Return the retrieval rows of a result by direction and subset."""
    keys = list(dict.fromkeys((r.label, r.group) for r in result.metrics if of_a_ranking(r)))
    rows = []
    for label, group in keys:
        members = [row for row in result.metrics if (row.label, row.group) == (label, group)]
        recalls = tuple(row for row in members if of_a_ranking(row))
        by_name = {row.metric: row for row in members}
        rows.append(
            RetrievalRow(
                direction=finding(label),
                subset=subset_words(group),
                n=recalls[0].counts.n,
                pool=recalls[0].counts.pool or 0,
                recalls=recalls,
                median=by_name.get("median_rank"),
                mean=by_name.get("mean_rank"),
            )
        )
    return rows


def of_a_ranking(row: Metric) -> bool:
    """Tell whether a row is a recall among a pool, and not of what a picture states, which knows no random ranking."""
    return row.metric.startswith("recall@") and row.counts.pool is not None


def plain_auroc(row: Metric) -> bool:
    """Tell whether a row is an AUROC of everybody."""
    return row.metric == "auroc" and row.group is None


def judged_split(rows: Iterable[Metric]) -> str:
    """Return the split that numbers are shown of: ``test``, else the last one that nothing was fitted or chosen on.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> names, counts = ("external", "validate"), Counts(n=9, patients=9)
        >>> judged_split([Metric(metric="auroc", label="x", value=0.8, counts=counts, split=name) for name in names])
        'external'
    """
    there = list(dict.fromkeys(row.split for row in rows))
    judged = [split for split in there if split not in FITTED_SPLITS] or there
    return "test" if "test" in judged else judged[-1] if judged else ""


def judged_rows(rows: Iterable[Metric]) -> list[Metric]:
    """Return the rows of `judged_split`."""
    rows = list(rows)
    split = judged_split(rows)
    return [row for row in rows if row.split == split]


def only(result: Result, metric: str, label: str, group: str | None = None) -> Metric | None:
    """Return the row, of `judged_split` where there are several."""
    rows = judged_rows(r for r in result.metrics if (r.metric, r.label, r.group) == (metric, label, group))
    return rows[0] if rows else None


def macro_of(result: Result) -> Metric | None:
    """Return the macro AUROC; None where there is none or it is not defined."""
    row = only(result, "auroc", "macro")
    return row if row is not None and row.value is not None else None


def mean_label(rows: Iterable[Metric], metric: str) -> str:
    """Return the label of a metric's mean over findings; a single finding has no other and is its own mean."""
    labels = {row.label for row in rows if row.metric == metric}
    return labels.pop() if len(labels) == 1 else "macro"


def findings_of(result: Result) -> set[str]:
    """Return the findings that have an AUROC."""
    return {row.label for row in result.metrics if plain_auroc(row)} - set(AVERAGES)


def subset_words(group: str | None) -> str:
    """Return the queries of a retrieval row, or the patients of another, in words.

    Example:
        >>> subset_words("report_group<=3"), subset_words("view_position=AP")
        ('reports of at most 3 studies', 'view AP')
    """
    if group is None:
        return "all queries"
    name, _, most = group.partition("<=")
    if name == "report_group":
        return f"reports of at most {most} studies"
    return _SUBSETS.get(group) or (group_words(group) if "=" in group else finding(group))

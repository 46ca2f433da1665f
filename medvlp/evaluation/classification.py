"""Statistics of anybody's predictions: AUROC and average precision per finding and macro, with patient intervals.

The table has the columns of ``medvlp score``: ``id``, ``patient_id``, ``label:NAME`` (1 present, 0 absent,
-1 uncertain, blank missing), ``score:NAME`` (any monotone scale), and optionally ``split`` and ``group:NAME``.
Uncertain and missing rows are left out of that finding only (policy ``u_ignore``). All numbers of a split come from
the same resamples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from medvlp.core.errors import DataError
from medvlp.evaluation.bootstrap import (
    Clusters,
    bootstrap,
    patient_clusters,
    percentile_interval,
    slots_by_patient,
)
from medvlp.evaluation.metrics import (
    FloatArray,
    auroc_of_slots,
    average_precision_of_slots,
    checked_scores,
    score_levels,
)
from medvlp.evaluation.results import Metric, Result, Role

__all__ = ["FEW_POSITIVE_PATIENTS", "evaluate_scores", "size_terciles"]

FEW_POSITIVE_PATIENTS = 30
_METRICS = ("auroc", "average_precision")


@dataclass(frozen=True, slots=True)
class _Column:
    """One finding in one group: its known rows as slot counts by patient, and what is known without a bootstrap."""

    label: str
    group: str | None
    slots: csr_array | None
    height: int
    n: int
    positives: int
    patients: int
    positive_patients: int
    reason: str | None


def evaluate_scores(
    predictions: pd.DataFrame,
    *,
    seed: int,
    recipe: str,
    data: str,
    resamples: int = 2000,
    level: float = 0.95,
    min_positives: int = 1,
    name: str = "scores",
    title: str = "",
    role: Role = "model",
    synthetic: bool = False,
) -> Result:
    """Return AUROC and average precision per finding, macro, and per group, with 95 % patient bootstrap intervals.

    ``group:NAME`` splits every finding by the column's value (site, sex). ``group:NAME@FINDING`` splits that finding
    only (size terciles of its positives). A negative row with a blank group is compared within every value of the
    group; a positive row with a blank group is in none.

    Args:
        predictions: one row an image or study, with the columns named above.
        seed: seed of the bootstrap.
        recipe: hash of what made the scores.
        data: hash of the data.
        resamples: bootstrap resamples of patients; 0 for no intervals.
        level: confidence level.
        min_positives: positive rows that a finding needs to take part in the macro average.
        name: name of the result.
        title: its words for a page.
        role: ``"control"`` for a baseline that a model must beat.
        synthetic: the data is synthetic.

    Raises:
        DataError: if a column is missing, an id occurs twice, a label is not 1, 0, -1 or blank, a score of a labelled
            row is missing, NaN or infinite, or a patient is in two splits.

    Example:
        >>> table = pd.DataFrame({"id": list("abcd"), "patient_id": list("ABCD"),
        ...                       "label:effusion": [0, 0, 1, 1], "score:effusion": [0.1, 0.4, 0.35, 0.8]})
        >>> evaluate_scores(table, seed=0, recipe="", data="", resamples=50).find("auroc", "effusion").value
        0.75
    """
    findings = _checked_columns(predictions)
    metrics: list[Metric] = []
    splits = predictions["split"].astype(str) if "split" in predictions else pd.Series("", index=predictions.index)
    for split in sorted(splits.unique()):
        rows = predictions[splits == split].reset_index(drop=True)
        metrics += _evaluate_split(rows, findings, split, seed, resamples, level, min_positives)
    return Result(
        name=name,
        title=title,
        role=role,
        synthetic=synthetic,
        recipe=recipe,
        data=data,
        metrics=tuple(metrics),
        cases=predictions.reset_index(drop=True),
    )


def size_terciles(sizes: ArrayLike, positive: ArrayLike) -> NDArray[np.object_]:
    """Return ``"1 small"``, ``"2 medium"`` or ``"3 large"`` for positive rows by size tercile, None elsewhere.

    For a ``group:size@FINDING`` column: each tercile's positives are then compared with all negatives.

    Args:
        sizes: ``(n,)`` sizes in any one unit; read where `positive` is true.
        positive: ``(n,)`` booleans.

    Example:
        >>> size_terciles([3, 30, 9, 0], [True, True, True, False]).tolist()
        ['1 small', '3 large', '2 medium', None]
    """
    size, chosen = np.asarray(sizes, dtype=np.float64), np.asarray(positive, dtype=bool)
    groups = np.full(len(size), None, dtype=object)
    if chosen.any():
        cuts = np.quantile(checked_scores(size[chosen], rows=int(chosen.sum()), name="Sizes"), [1 / 3, 2 / 3])
        names = np.array(["1 small", "2 medium", "3 large"], dtype=object)
        groups[chosen] = names[np.searchsorted(cuts, size[chosen], side="left")]
    return groups


def _checked_columns(table: pd.DataFrame) -> list[str]:
    """Refuse a table that would give wrong numbers; return the findings in column order."""
    for column in ("id", "patient_id"):
        if column not in table:
            raise DataError(
                f"Predictions have no column {column!r}: add it (columns id, patient_id, label:NAME, score:NAME)."
            )
        if table[column].isna().any():
            raise DataError(
                f"Predictions have {int(table[column].isna().sum())} rows without {column!r}: fill or drop them."
            )
    keys = ["id", "split"] if "split" in table else ["id"]
    if table.duplicated(keys).any():
        raise DataError(
            f"Predictions hold {int(table.duplicated(keys).sum())} rows whose id occurs before: give one row an id."
        )
    findings = [str(c).removeprefix("label:") for c in table.columns if str(c).startswith("label:")]
    if not findings:
        raise DataError("Predictions have no column label:NAME: add one with 1, 0, -1 or blank for each finding.")
    for finding in findings:
        if f"score:{finding}" not in table:
            raise DataError(
                f"Predictions have label:{finding} and no score:{finding}: add the column or drop the label."
            )
    for column in (str(c) for c in table.columns):
        finding = column.removeprefix("score:") if column.startswith("score:") else column.partition("@")[2]
        if column.startswith(("score:", "group:")) and finding and finding not in findings:
            raise DataError(f"Predictions have {column} and no label:{finding}: add the labels or drop the column.")
    if "split" in table:
        shared = int((table.groupby("patient_id")["split"].nunique(dropna=False) > 1).sum())
        if shared:
            raise DataError(
                f"{shared} patients are in more than one split: split by patient, or the numbers are too good."
            )
    return findings


def _numbers(table: pd.DataFrame, column: str) -> FloatArray:
    try:
        return pd.to_numeric(table[column].replace(r"^\s*$", np.nan, regex=True)).to_numpy(np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"Column {column} holds something that is not a number ({error}): give numbers or blanks."
        ) from error


def _known(table: pd.DataFrame, finding: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_], FloatArray]:
    """Return which rows have a known label, which are positive, and the scores."""
    labels, scores = _numbers(table, f"label:{finding}"), _numbers(table, f"score:{finding}")
    odd = ~(np.isnan(labels) | np.isin(labels, (-1.0, 0.0, 1.0)))
    if odd.any():
        raise DataError(
            f"label:{finding} holds {labels[odd][0]:g}, allowed are 1 (present), 0 (absent), -1 (uncertain) and blank: "
            f"map other codes first."
        )
    known = np.isin(labels, (0.0, 1.0))
    checked_scores(scores[known], rows=int(known.sum()), name=f"Column score:{finding}, rows with a known label,")
    return known, labels == 1.0, scores


def _evaluate_split(
    table: pd.DataFrame,
    findings: list[str],
    split: str,
    seed: int,
    resamples: int,
    level: float,
    min_positives: int,
) -> list[Metric]:
    parsed = {finding: _known(table, finding) for finding in findings}
    any_positive = np.any([positive for _, positive, _ in parsed.values()], axis=0)
    clusters = patient_clusters(table["patient_id"].astype(str), any_positive)
    everybody = [_column(finding, None, *parsed[finding], np.ones(len(table), bool), clusters) for finding in findings]
    grouped = _grouped_columns(table, parsed, clusters)
    columns = everybody + grouped
    used = [(column, column.slots) for column in columns if column.slots is not None]

    def statistic(weights: FloatArray) -> FloatArray:
        values = []
        for _, slots in used:  # one histogram at a time: together they would be the largest thing in memory
            histogram = slots @ weights
            values += [auroc_of_slots(histogram), average_precision_of_slots(histogram)]
        return np.stack(values, axis=1) if values else np.empty((weights.shape[1], 0))

    point = statistic(np.ones((clusters.patients, 1)))
    draws = np.empty((0, 2 * len(used)))
    if resamples and used:
        height = max(column.height for column, _ in used)
        draws = bootstrap(statistic, clusters, resamples=resamples, seed=seed, height=height)
    place = {(column.label, column.group): 2 * index for index, (column, _) in enumerate(used)}

    metrics: list[Metric] = []
    for group in dict.fromkeys(column.group for column in columns):
        members = [column for column in columns if column.group == group]
        for offset, metric in enumerate(_METRICS):
            rows = []
            for column in members:
                at = place.get((column.label, column.group))
                row = _row(column, metric, split, level)
                if at is not None:
                    row = _with_interval(row, point[:, at + offset], draws[:, at + offset])
                rows.append(row)
            averaged = [c for c in members if c.slots is not None and c.positives >= min_positives]
            chosen = [place[c.label, c.group] + offset for c in averaged]
            macro = _macro_row(averaged, metric, split, level, group, table, min_positives)
            if chosen:
                macro = _with_interval(macro, point[:, chosen].mean(axis=1), draws[:, chosen].mean(axis=1))
            metrics += [*rows, macro]
    return metrics


def _grouped_columns(
    table: pd.DataFrame,
    parsed: dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_], FloatArray]],
    clusters: Clusters,
) -> list[_Column]:
    columns = []
    for column in (str(c) for c in table.columns if str(c).startswith("group:")):
        name, _, only = column.removeprefix("group:").partition("@")
        blank = table[column].isna().to_numpy() | (table[column].astype(str).str.strip() == "").to_numpy()
        values = table[column].astype(str).to_numpy()
        for value in sorted(set(values[~blank])):
            for finding in [only] if only else list(parsed):
                known, positive, scores = parsed[finding]
                inside = (values == value) & ~blank | (blank & ~positive)
                columns.append(_column(finding, f"{name}={value}", known, positive, scores, inside, clusters))
    return columns


def _column(
    label: str,
    group: str | None,
    known: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    scores: FloatArray,
    inside: NDArray[np.bool_],
    clusters: Clusters,
) -> _Column:
    rows = np.flatnonzero(known & inside)
    patient, truth = clusters.patient[rows], positive[rows]
    reason = None
    if not len(rows):
        reason = "no_rows"
    elif not truth.any() or truth.all():
        reason = "no_positives" if not truth.any() else "no_negatives"
    slots, height = None, 0
    if reason is None:
        levels = score_levels(truth, scores[rows])
        slots, height = slots_by_patient(levels, patient, clusters.patients), levels.slots
    return _Column(
        label=label,
        group=group,
        slots=slots,
        height=height,
        n=len(rows),
        positives=int(truth.sum()),
        patients=len(np.unique(patient)),
        positive_patients=len(np.unique(patient[truth])),
        reason=reason,
    )


def _row(column: _Column, metric: str, split: str, level: float) -> Metric:
    few = column.positive_patients <= FEW_POSITIVE_PATIENTS
    prevalence = column.positives / column.n if column.n else None
    return Metric(
        metric=metric,
        label=column.label,
        value=None,
        level=level,
        n=column.n,
        positives=column.positives,
        patients=column.patients,
        split=split,
        group=column.group,
        prevalence=prevalence,
        chance=None if column.slots is None else 0.5 if metric == "auroc" else prevalence,
        reason=column.reason or ("few_positives" if few else None),
    )


def _macro_row(
    averaged: list[_Column],
    metric: str,
    split: str,
    level: float,
    group: str | None,
    table: pd.DataFrame,
    min_positives: int,
) -> Metric:
    return Metric(
        metric=metric,
        label="macro",
        value=None,
        level=level,
        n=len(table) if group is None else max((column.n for column in averaged), default=0),
        positives=sum(column.positives for column in averaged),
        patients=table["patient_id"].nunique() if group is None else max((c.patients for c in averaged), default=0),
        split=split,
        group=group,
        labels_used=len(averaged),
        min_positives=min_positives if min_positives > 1 else None,
        chance=0.5
        if metric == "auroc"
        else float(np.mean([c.positives / c.n for c in averaged]))
        if averaged
        else None,
        reason=None if averaged else "no_labels",
    )


def _with_interval(row: Metric, value: FloatArray, draws: FloatArray) -> Metric:
    if not len(draws):
        return replace(row, value=float(value[0]), method="none", interval="none")
    interval = percentile_interval(draws, level=row.level)
    return replace(
        row,
        value=float(value[0]),
        low=interval.low,
        high=interval.high,
        resamples=interval.used,
        skipped=interval.skipped,
        reason="few_resamples" if interval.low is None else row.reason,
    )

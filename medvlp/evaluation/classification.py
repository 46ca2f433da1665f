"""AUROC and average precision of anybody's predictions, per finding, averaged and by group, with patient intervals.

The table is that of `predictions`. Uncertain and missing rows are left out of that finding only (policy ``u_ignore``,
unless another is asked for). All numbers of a split come from the same resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medvlp.evaluation.bootstrap import Clusters, bootstrap, count_patients, patient_clusters
from medvlp.evaluation.influence import acceleration, by_patient, influence_rows
from medvlp.evaluation.intervals import DEFAULT_FORM, Form, interval_of
from medvlp.evaluation.metrics import FloatArray, checked_scores
from medvlp.evaluation.predictions import KnownRows, Policy, checked_findings, groups_of, known_rows
from medvlp.evaluation.proportions import clopper_pearson
from medvlp.evaluation.ranked import RankedRows, rank_rows
from medvlp.evaluation.results import AVERAGES, Metric, Result, Role

__all__ = [
    "FEW_POSITIVE_PATIENTS",
    "MIN_GROUP",
    "evaluate_scores",
    "few_reason",
    "rank_metrics",
    "size_terciles",
    "split_rows",
]

FEW_POSITIVE_PATIENTS = 30
# With fewer patients of a class an AUROC of a group may be anything.
MIN_GROUP = 10
_METRICS = ("auroc", "average_precision")


@dataclass(frozen=True, slots=True)
class _Column:
    """One finding in one group: its known rows in order of score, and what is known without a bootstrap.

    `influence` is ``(P, 2)``, kept where BCa intervals are asked for; `smaller` counts patients of the smaller class.
    """

    label: str
    group: str | None
    ranked: RankedRows | None
    influence: FloatArray | None
    n: int
    positives: int
    patients: int
    smaller: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Estimate:
    """Point ``(2,)``, draws ``(resamples, 2)`` and influence ``(P, 2)`` of AUROC and average precision.

    `smaller` counts the patients of the smaller class, for an average those of all its findings.
    """

    point: FloatArray
    draws: FloatArray
    influence: FloatArray | None
    smaller: int


def evaluate_scores(
    predictions: pd.DataFrame,
    *,
    seed: int,
    recipe: str,
    data: str,
    resamples: int = 2000,
    level: float = 0.95,
    min_positives: int = 1,
    interval: Form = DEFAULT_FORM,
    policy: Policy = "u_ignore",
    min_group: int = MIN_GROUP,
    name: str = "scores",
    title: str = "",
    role: Role = "model",
    synthetic: bool = False,
) -> Result:
    """Return AUROC and average precision per finding, averaged, and per group, with 95 % patient bootstrap intervals.

    Averages over findings: ``macro`` (mean), ``weighted`` (by positives) and ``micro`` (all cases of all findings
    pooled, which supposes scores on one scale), each with the number of labels used; a group has the macro average.

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
        min_positives: positive rows that a finding needs to take part in an average.
        interval: form of the intervals, see `intervals`.
        policy: what is done with uncertain labels.
        min_group: patients of each class that a group needs for any number.
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
    findings = checked_findings(predictions)
    metrics: list[Metric] = []
    for split, rows in split_rows(predictions):
        metrics += rank_metrics(
            rows,
            findings,
            split=split,
            seed=seed,
            resamples=resamples,
            level=level,
            min_positives=min_positives,
            interval=interval,
            policy=policy,
            min_group=min_group,
        )
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


def split_rows(predictions: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return each split's name and rows, in the order of names; one without a name where there is no such column."""
    if "split" not in predictions:
        return [("", predictions.reset_index(drop=True))]
    splits = predictions["split"].astype(str)
    return [(split, predictions[splits == split].reset_index(drop=True)) for split in sorted(splits.unique())]


def few_reason(positive_patients: int, negative_patients: int) -> str | None:
    """Return the flag of an interval that rests on few patients of a class.

    Example:
        >>> few_reason(30, 500), few_reason(31, 30), few_reason(31, 31)
        ('few_positives', 'few_negatives', None)
    """
    if positive_patients <= FEW_POSITIVE_PATIENTS:
        return "few_positives"
    return "few_negatives" if negative_patients <= FEW_POSITIVE_PATIENTS else None


def rank_metrics(
    table: pd.DataFrame,
    findings: Sequence[str],
    *,
    split: str,
    seed: int,
    resamples: int,
    level: float = 0.95,
    min_positives: int = 1,
    interval: Form = DEFAULT_FORM,
    policy: Policy = "u_ignore",
    min_group: int = MIN_GROUP,
) -> list[Metric]:
    """Return the rows of AUROC and average precision of one split; arguments as `evaluate_scores`.

    Args:
        table: checked rows of the split.
        findings: its findings.
        split: its name.
        seed, resamples, level, min_positives, interval, policy, min_group: as there.
    """
    parsed = {finding: known_rows(table, finding, policy=policy) for finding in findings}
    any_positive = np.any([rows.positive for rows in parsed.values()], axis=0)
    clusters = patient_clusters(table["patient_id"].astype(str), any_positive)
    keep = interval == "bca" and resamples > 0
    everybody = [_column(rows, None, rows.known, clusters, keep) for rows in parsed.values()]
    pool = [parsed[column.label] for column in everybody if _averaged(column, min_positives)]
    pooled = _pooled(pool, clusters, keep) if len(pool) > 1 else None
    grouped = [
        _column(
            parsed[finding],
            group.name,
            parsed[finding].known & group.inside(parsed[finding].positive),
            clusters,
            keep,
            least=min_group,
        )
        for group in groups_of(table, findings)
        for finding in group.findings
    ]
    columns = everybody + grouped
    found = _estimates([*columns, *([pooled] if pooled else [])], clusters, resamples=resamples, seed=seed)

    metrics: list[Metric] = []
    for group in dict.fromkeys(column.group for column in columns):
        members = [column for column in columns if column.group == group]
        averaged = [column for column in members if _averaged(column, min_positives)]
        for at, metric in enumerate(_METRICS):
            rows = [(_row(column, metric, split, level), found.get((column.label, column.group))) for column in members]
            made = [found[column.label, column.group] for column in averaged]
            rows.append((_macro_row(averaged, metric, split, level, group, table, min_positives), _mean(made, None)))
            if group is None and len(averaged) > 1:
                weights = np.array([column.positives for column in averaged], np.float64)
                rows.append((_weighted_row(rows[-1][0], averaged, metric), _mean(made, weights)))
            if group is None and pooled is not None:
                micro = replace(
                    _row(pooled, metric, split, level), labels_used=len(pool), min_positives=rows[-1][0].min_positives
                )
                rows.append((micro, found["micro", None]))
            metrics += [
                replace(_with_interval(row, value, at, interval, clusters), policy=policy) for row, value in rows
            ]
    return metrics


def _averaged(column: _Column, min_positives: int) -> bool:
    return column.ranked is not None and column.positives >= min_positives


def _column(
    rows: KnownRows,
    group: str | None,
    inside: NDArray[np.bool_],
    clusters: Clusters,
    keep_influence: bool,
    *,
    least: int = 1,
) -> _Column:
    at = np.flatnonzero(inside)
    found = _ranked_column(
        rows.finding, group, rows.positive[at], rows.scores[at], clusters.patient[at], clusters, keep_influence
    )
    if found.ranked is None or found.smaller >= least:
        return found
    return replace(found, ranked=None, influence=None, reason="n_too_small")


def _pooled(pool: Sequence[KnownRows], clusters: Clusters, keep_influence: bool) -> _Column:
    """Return all known cases of several findings as one column, ``micro``."""
    truth = np.concatenate([rows.positive[rows.known] for rows in pool])
    scores = np.concatenate([rows.scores[rows.known] for rows in pool])
    patient = np.concatenate([clusters.patient[rows.known] for rows in pool])
    return _ranked_column("micro", None, truth, scores, patient, clusters, keep_influence)


def _ranked_column(
    label: str,
    group: str | None,
    truth: NDArray[np.bool_],
    scores: FloatArray,
    patient: NDArray[np.int64],
    clusters: Clusters,
    keep_influence: bool,
) -> _Column:
    reason = (
        None
        if truth.any() and not truth.all()
        else "no_positives"
        if len(truth) and not truth.any()
        else "no_negatives"
    )
    reason = reason if len(truth) else "no_rows"
    ranked, influence, smaller = None, None, 0
    if reason is None:
        ranked = rank_rows(truth, scores, patient)
        influence = by_patient(influence_rows(truth, scores), patient, clusters.patients) if keep_influence else None
        classes = count_patients(patient[truth]), count_patients(patient[~truth])
        reason, smaller = few_reason(*classes), min(classes)
    return _Column(
        label=label,
        group=group,
        ranked=ranked,
        influence=influence,
        n=len(truth),
        positives=int(truth.sum()),
        patients=count_patients(patient),
        smaller=smaller,
        reason=reason,
    )


def _estimates(
    columns: Sequence[_Column], clusters: Clusters, *, resamples: int, seed: int
) -> dict[tuple[str, str | None], _Estimate]:
    """Return the estimates of every column that has both classes, all from the same resamples."""
    used = [(column, column.ranked) for column in columns if column.ranked is not None]
    if not used:
        return {}

    def statistic(weights: FloatArray) -> FloatArray:
        counts = np.ascontiguousarray(weights.T, dtype=np.int32)
        return np.concatenate([ranked.draws(counts) for _, ranked in used], axis=1)

    point = statistic(np.ones((clusters.patients, 1)))[0]
    draws = np.empty((0, 2 * len(used)))
    if resamples:
        draws = bootstrap(statistic, clusters, resamples=resamples, seed=seed)
    return {
        (column.label, column.group): _Estimate(
            point[2 * at : 2 * at + 2], draws[:, 2 * at : 2 * at + 2], column.influence, column.smaller
        )
        for at, (column, _) in enumerate(used)
    }


def _mean(made: Sequence[_Estimate], weights: FloatArray | None) -> _Estimate | None:
    """Return the mean over findings, resample by resample."""
    if not made:
        return None
    share = np.full(len(made), 1 / len(made)) if weights is None else weights / weights.sum()
    moved = [each.influence for each in made if each.influence is not None]
    return _Estimate(
        np.tensordot(share, np.stack([each.point for each in made]), axes=1),
        np.tensordot(share, np.stack([each.draws for each in made]), axes=1),
        np.tensordot(share, np.stack(moved), axes=1) if moved else None,
        sum(each.smaller for each in made),
    )


def _row(column: _Column, metric: str, split: str, level: float) -> Metric:
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
        chance=None if column.ranked is None else 0.5 if metric == "auroc" else prevalence,
        reason=column.reason,
    )


def _macro_row(
    averaged: Sequence[_Column],
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


def _weighted_row(macro: Metric, averaged: Sequence[_Column], metric: str) -> Metric:
    positives = np.array([column.positives for column in averaged], np.float64)
    prevalence = np.array([column.positives / column.n for column in averaged])
    chance = 0.5 if metric == "auroc" else float(np.average(prevalence, weights=positives))
    return replace(macro, label="weighted", chance=chance)


def _with_interval(row: Metric, estimate: _Estimate | None, at: int, form: Form, clusters: Clusters) -> Metric:
    if estimate is None:
        return row
    value = float(estimate.point[at])
    if not len(estimate.draws):
        return replace(row, value=value, method="none", interval="none")
    if value in (0.0, 1.0) and bool(np.nanmin(estimate.draws[:, at]) == np.nanmax(estimate.draws[:, at])):
        return _without_spread(row, value, estimate.smaller)
    moved = estimate.influence
    speed = 0.0 if moved is None else acceleration(moved[:, at], clusters)
    found = interval_of(
        estimate.draws[:, at], value=value, form=form, level=row.level, acceleration=speed, patients=estimate.smaller
    )
    return replace(
        row,
        value=value,
        low=found.low,
        high=found.high,
        interval=form,
        resamples=found.used,
        skipped=found.skipped,
        reason="few_resamples" if found.low is None else row.reason,
    )


def _without_spread(row: Metric, value: float, smaller: int) -> Metric:
    """Return the row of a score that divides the classes, where a bootstrap sees no doubt at all.

    Pair each of the m patients of the smaller class with one of the other: all m pairs are ranked right with a chance
    of AUROC^m, so the exact limit of m successes of m holds for the AUROC. There is no such bound for others.
    """
    if row.metric != "auroc" or row.label in AVERAGES or smaller < 1:
        return replace(row, value=value, method="none", interval="none", reason="separated")
    found = clopper_pearson(smaller * value, smaller, level=row.level)
    return replace(row, value=value, low=found.low, high=found.high, method="exact", interval="clopper_pearson")

"""AUROC of few-shot classifiers: a mean over draws, with an interval over patients and draws, and the draws' spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medvlp.core.errors import DataError
from medvlp.core.randomness import numpy_generator
from medvlp.evaluation.metric_row import is_separated, separated, with_interval
from medvlp.evaluation.results import ConfidenceInterval, Counts, Metric, Result, Role
from medvlp.statistics.bootstrap import Clusters, bootstrap, count_patients, patient_clusters
from medvlp.statistics.few import TOO_FEW, few_reason, mean_reason
from medvlp.statistics.intervals import DEFAULT_FORM, interval_of
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.ranked import rank_rows


@dataclass(frozen=True, slots=True)
class _Column:
    """One finding and number of shots, or the macro average (no truth): the AUROC of every draw.

    Attributes:
        point: ``(draws,)``; None where the test has one class.
        resampled: ``(resamples, draws)``.
        smaller: patients of the smaller class.
    """

    label: str
    n: int
    positives: int
    patients: int
    reason: str | None
    point: FloatArray | None = None
    resampled: FloatArray | None = None
    smaller: int = 0
    labels_used: int | None = None


def evaluate_few_shot(
    scores: Mapping[str, Mapping[int, FloatArray]],
    labels: Mapping[str, ArrayLike],
    patients: Sequence[str],
    ids: Sequence[str],
    *,
    seed: int,
    resamples: int = 1000,
    min_positives: int = 1,
    split: str = "",
    name: str = "few_shot",
    title: str = "Few shots",
    role: Role = "model",
    caveats: Sequence[str] = (),
) -> Result:
    """Return ``auroc@K`` of each finding and number of shots K: the mean over draws.

    ``low`` and ``high`` are of the mean: each resample draws test patients and draws, both with replacement, and so
    holds the doubt of the test and of the training cases. ``draws_low`` and ``draws_high`` are the same quantiles of
    the single draws on the test as it is: what somebody with one such training set may meet. Draws share one pool of
    training patients, so neither says what other hospitals' patients would give.

    Args:
        scores: finding -> shots -> ``(draws, N)``, from `medvlp.evaluation.few_shot.FewShot.scores`.
        labels: finding -> ``(N,)`` 1, 0; -1 and NaN are left out.
        patients: N identifiers.
        ids: N names of rows.
        name, title: of the `Result`, see there.
        resamples: of the bootstrap; 0 for no intervals.
        min_positives: positive rows that a finding needs to take part in the macro average.
        split: written into the rows.
        role: ``"control"`` for a baseline.
        caveats: what a reader has to know.

    Raises:
        DataError: if a finding has no labels, or lengths disagree.

    Example:
        >>> found = evaluate_few_shot({"edema": {1: np.array([[0.1, 0.9], [0.9, 0.1]])}}, {"edema": [0, 1]}, ["p", "q"],
        ...                           ["a", "b"], seed=0, resamples=0)
        >>> row = found.find("auroc@1", "edema")
        >>> row.value, row.counts.draws, row.interval.draws_high
        (0.5, 2, 0.975)
    """
    truths = {label: _truth(label, labels, patients, scores[label]) for label in scores}
    any_positive = np.any([truth == 1 for truth in truths.values()], axis=0)
    clusters = patient_clusters(np.asarray(patients).astype(str), any_positive)
    rows: list[Metric] = []
    for shots in sorted({count for found in scores.values() for count in found}):
        columns = [
            _column(label, truths[label], found[shots], clusters, resamples=resamples, seed=seed)
            for label, found in scores.items()
            if shots in found
        ]
        averaged = [each for each in columns if each.point is not None and each.positives >= min_positives]
        if averaged:
            known = np.any([np.isin(truths[each.label], (0.0, 1.0)) for each in averaged], axis=0)
            columns.append(_macro(averaged, int(known.sum()), count_patients(clusters.patient[known])))
        for column in columns:
            row = Metric(
                metric=f"auroc@{shots}",
                label=column.label,
                value=None,
                split=split,
                chance=0.5,
                reason=column.reason,
                interval=ConfidenceInterval(method="none", form="none"),
                counts=Counts(
                    n=column.n,
                    positives=column.positives,
                    patients=column.patients,
                    labels_used=column.labels_used,
                    min_positives=min_positives if column.labels_used is not None and min_positives > 1 else None,
                    prevalence=column.positives / column.n if column.labels_used is None and column.n else None,
                ),
            )
            rows.append(_measured(row, column, seed))
    return Result(
        name=name,
        title=title,
        role=role,
        metrics=tuple(rows),
        cases=_cases(ids, patients, split, truths, scores),
        caveats=tuple(caveats),
    )


def _truth(
    label: str, labels: Mapping[str, ArrayLike], patients: Sequence[str], scores: Mapping[int, FloatArray]
) -> FloatArray:
    if label not in labels:
        raise DataError(f"There are scores of {label!r} and no labels: give both, or leave it out.")
    truth = np.asarray(labels[label], dtype=np.float64)
    if any(len(truth) != length for length in (len(patients), *(each.shape[1] for each in scores.values()))):
        raise DataError(f"Scores, labels and patients of {label!r} have different lengths: give one each a row.")
    return truth


def _column(
    label: str, truth: FloatArray, scores: FloatArray, clusters: Clusters, *, resamples: int, seed: int
) -> _Column:
    at = np.flatnonzero(np.isin(truth, (0.0, 1.0)))
    positive, patient = truth[at] == 1, clusters.patient[at]
    classes = [count_patients(patient[positive == side]) if (positive == side).any() else 0 for side in (True, False)]
    column = _Column(label, len(at), int(positive.sum()), count_patients(patient), few_reason(*classes))
    if min(classes) == 0:
        return replace(column, reason="no_negatives" if classes[0] else "no_positives" if len(at) else "no_rows")
    ranked = [rank_rows(positive, draw[at], patient) for draw in scores]

    def statistic(weights: FloatArray) -> FloatArray:
        counts = np.ascontiguousarray(weights.T, dtype=np.int32)
        return np.stack([each.draws(counts)[:, 0] for each in ranked], axis=1)

    return replace(
        column,
        point=statistic(np.ones((clusters.patients, 1)))[0],
        resampled=bootstrap(statistic, clusters, resamples=resamples, seed=seed) if resamples else None,
        smaller=min(classes),
    )


def _macro(columns: Sequence[_Column], n: int, patients: int) -> _Column:
    """Return the mean over findings, draw by draw and resample by resample."""
    resampled = [each.resampled for each in columns if each.resampled is not None]
    return _Column(
        label="macro",
        n=n,
        positives=sum(each.positives for each in columns),
        patients=patients,
        reason=mean_reason([each.reason for each in columns]),
        point=np.mean([each.point for each in columns if each.point is not None], axis=0),
        resampled=np.mean(resampled, axis=0) if resampled else None,
        smaller=sum(each.smaller for each in columns),
        labels_used=len(columns),
    )


def _measured(row: Metric, column: _Column, seed: int) -> Metric:
    """Return the row with the mean over draws, its interval over patients and draws, and the draws' spread."""
    if column.point is None:
        return row
    draws, value = len(column.point), float(column.point.mean())
    tail = (1 - row.interval.level) / 2
    low, high = np.quantile(column.point, [tail, 1 - tail])
    row = replace(
        row,
        value=value,
        counts=replace(row.counts, draws=draws),
        interval=replace(row.interval, draws_low=float(low), draws_high=float(high)),
    )
    if column.resampled is None or row.reason in TOO_FEW:
        return row
    # The same draws of draws for every finding and number of shots, as the same patients are drawn for all.
    drawn = numpy_generator(seed, 0, "few_shot/bootstrap").integers(0, draws, size=(len(column.resampled), draws))
    means = np.take_along_axis(column.resampled, drawn, axis=1).mean(axis=1)
    if is_separated(value, means):
        return separated(row)
    found = interval_of(means, value=value, form=DEFAULT_FORM, level=row.interval.level, patients=column.smaller)
    return with_interval(row, found, method="patient_draw_bootstrap", form=DEFAULT_FORM)


def _cases(
    ids: Sequence[str],
    patients: Sequence[str],
    split: str,
    truths: Mapping[str, FloatArray],
    scores: Mapping[str, Mapping[int, FloatArray]],
) -> pd.DataFrame:
    """Return a row a case: the labels, and a column ``few_shot:FINDING@SHOTS#DRAW`` of every classifier's scores."""
    columns: dict[str, object] = {"id": list(ids), "patient_id": [str(patient) for patient in patients]}
    columns |= {"split": split} if split else {}
    columns |= {f"label:{label}": truth for label, truth in truths.items()}
    for label, found in scores.items():
        for shots, draws in found.items():
            columns |= {f"few_shot:{label}@{shots}#{at}": draw.astype(np.float32) for at, draw in enumerate(draws)}
    return pd.DataFrame(columns)

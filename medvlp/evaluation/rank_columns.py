"""Findings ready to be ranked, each in a group, and the metrics of all their rankings from one bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medvlp.evaluation.predictions import KnownRows
from medvlp.statistics.bootstrap import Clusters, bootstrap, count_patients
from medvlp.statistics.few import few_reason
from medvlp.statistics.influence import by_patient, influence_rows
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.ranked import RankedRows, rank_rows
from medvlp.statistics.table import rank_metrics


@dataclass(frozen=True, slots=True)
class Column:
    """One finding in one group: its known rows in order of score, and what is known without a bootstrap.

    `inside` says which of all rows these are; `influence` is ``(P, K)``, kept where BCa intervals are asked for;
    `smaller` counts patients of the smaller class.
    """

    label: str
    group: str | None
    inside: NDArray[np.bool_]
    ranked: RankedRows | None
    influence: FloatArray | None
    n: int
    positives: int
    patients: int
    smaller: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Point ``(K,)``, draws ``(resamples, K)`` and influence ``(P, K)`` of the K metrics of `rank_metrics`.

    `smaller` counts the patients of the smaller class, for an average those of all its findings.
    """

    point: FloatArray
    draws: FloatArray
    influence: FloatArray | None
    smaller: int


def column_of(
    rows: KnownRows,
    group: str | None,
    inside: NDArray[np.bool_],
    clusters: Clusters,
    with_influence: bool,
    *,
    least: int = 1,
) -> Column:
    """Return a finding in a group, or of everybody.

    Args:
        rows: of the finding.
        group: its name; None for everybody.
        inside: ``(n,)`` rows that are meant.
        clusters: patients of all rows.
        with_influence: whether BCa intervals will be asked for.
        least: patients of each class without which there is no number.

    Example:
        >>> from medvlp.statistics.bootstrap import patient_clusters
        >>> rows = KnownRows("edema", np.array([True, True]), np.array([True, False]), np.array([0.9, 0.2]))
        >>> column_of(rows, None, rows.known, patient_clusters(["p", "q"]), False).reason
        'too_few_positives'
    """
    at = np.flatnonzero(inside)
    truth, scores, patient = rows.positive[at], rows.scores[at], clusters.patient[at]
    found = _ranked(rows.finding, group, inside, truth, scores, patient, clusters, with_influence)
    if found.ranked is None or found.smaller >= least:
        return found
    return replace(found, ranked=None, influence=None, reason="n_too_small")


def pooled_column(pool: Sequence[KnownRows], clusters: Clusters, with_influence: bool) -> Column:
    """Return all known cases of several findings as one column, ``micro``."""
    truth = np.concatenate([rows.positive[rows.known] for rows in pool])
    scores = np.concatenate([rows.scores[rows.known] for rows in pool])
    patient = np.concatenate([clusters.patient[rows.known] for rows in pool])
    known = np.any([rows.known for rows in pool], axis=0)
    return _ranked("micro", None, known, truth, scores, patient, clusters, with_influence)


def _ranked(
    label: str,
    group: str | None,
    inside: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    scores: FloatArray,
    patient: NDArray[np.int64],
    clusters: Clusters,
    with_influence: bool,
) -> Column:
    reason = None if truth.any() and not truth.all() else "no_negatives" if truth.any() else "no_positives"
    reason = reason if len(truth) else "no_rows"
    ranked, influence, smaller = None, None, 0
    if reason is None:
        ranked = rank_rows(truth, scores, patient)
        influence = by_patient(influence_rows(truth, scores), patient, clusters.patients) if with_influence else None
        classes = count_patients(patient[truth]), count_patients(patient[~truth])
        reason, smaller = few_reason(*classes), min(classes)
    return Column(
        label=label,
        group=group,
        inside=inside,
        ranked=ranked,
        influence=influence,
        n=len(truth),
        positives=int(truth.sum()),
        patients=count_patients(patient),
        smaller=smaller,
        reason=reason,
    )


def estimates(
    columns: Sequence[Column], clusters: Clusters, *, resamples: int, seed: int
) -> dict[tuple[str, str | None], Estimate]:
    """Return the estimates of every column that has both classes, all from the same resamples."""
    used = [(column, column.ranked) for column in columns if column.ranked is not None]
    if not used:
        return {}

    def statistic(weights: FloatArray) -> FloatArray:
        counts = np.ascontiguousarray(weights.T, dtype=np.int32)
        return np.concatenate([ranked.draws(counts) for _, ranked in used], axis=1)

    point = statistic(np.ones((clusters.patients, 1)))[0]
    width = len(rank_metrics())
    draws = np.empty((0, width * len(used)))
    if resamples:
        draws = bootstrap(statistic, clusters, resamples=resamples, seed=seed)
    return {
        (column.label, column.group): Estimate(
            point[width * at : width * (at + 1)],
            draws[:, width * at : width * (at + 1)],
            column.influence,
            column.smaller,
        )
        for at, (column, _) in enumerate(used)
    }


def mean_estimate(made: Sequence[Estimate], weights: FloatArray | None = None) -> Estimate | None:
    """Return the mean over findings, resample by resample."""
    if not made:
        return None
    share = np.full(len(made), 1 / len(made)) if weights is None else weights / weights.sum()
    moved = [each.influence for each in made if each.influence is not None]
    return Estimate(
        np.tensordot(share, np.stack([each.point for each in made]), axes=1),
        np.tensordot(share, np.stack([each.draws for each in made]), axes=1),
        np.tensordot(share, np.stack(moved), axes=1) if moved else None,
        sum(each.smaller for each in made),
    )

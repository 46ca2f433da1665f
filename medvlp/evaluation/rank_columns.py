"""Findings ready to be ranked, each in a group, and the metrics of all their rankings from one bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvlp.evaluation.scoring.split import Finding, SplitData
from medvlp.statistics.influence import by_patient, influence_rows
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.ranked import RankedRows, rank_rows
from medvlp.statistics.table import rank_metrics


@dataclass(frozen=True, slots=True)
class Column:
    """One finding in one group: its known rows in order of score, and what is known without a bootstrap.

    `ranked` is None where there is no number, and `reason` then says why; `influence` is ``(P, K)``, kept where BCa
    intervals are asked for.
    """

    finding: Finding
    group: str | None
    reason: str | None
    ranked: RankedRows | None = None
    influence: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Point ``(K,)``, draws ``(resamples, K)`` and influence ``(P, K)`` of the K metrics of `rank_metrics`.

    `smaller` counts the patients of the smaller class, for an average those of all its findings.
    """

    point: FloatArray
    draws: FloatArray
    influence: FloatArray | None
    smaller: int


def column_of(data: SplitData, finding: Finding, group: str | None = None) -> Column:
    """Return the rows of a finding as a column: of a group that is large enough, or of everybody."""
    if finding.reason is not None:
        return Column(finding, group, finding.reason)
    if group is not None and data.too_small(finding):
        return Column(finding, group, "n_too_small")
    truth, scores, patient = finding.truth, finding.scores, finding.patient
    influence = None
    if data.options.interval == "bca" and data.options.resamples > 0:
        influence = by_patient(influence_rows(truth, scores), patient, data.clusters.patients)
    return Column(finding, group, finding.few, rank_rows(truth, scores, patient), influence)


def estimates(columns: Sequence[Column], data: SplitData) -> dict[tuple[str, str | None], Estimate]:
    """Return the estimates of every column that has both classes, all from the same resamples."""
    used = [(column, column.ranked) for column in columns if column.ranked is not None]
    if not used:
        return {}

    def statistic(weights: FloatArray) -> FloatArray:
        counts = np.ascontiguousarray(weights.T, dtype=np.int32)
        return np.concatenate([ranked.draws(counts) for _, ranked in used], axis=1)

    point = statistic(np.ones((data.clusters.patients, 1)))[0]
    width = len(rank_metrics())
    draws = data.draws([statistic])[0]
    return {
        (column.finding.name, column.group): Estimate(
            point[width * at : width * (at + 1)],
            draws[:, width * at : width * (at + 1)],
            column.influence,
            column.finding.smaller,
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

"""Rows of results of conformal sets: do they hold the truth as often as promised, in every group, and how large?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from medvlp.evaluation.metric_row import with_interval, with_share
from medvlp.evaluation.results import Metric
from medvlp.evaluation.scoring.fitted import FittedFinding
from medvlp.evaluation.scoring.split import Finding, SplitData, Statistic
from medvlp.statistics.bootstrap import percentile_interval
from medvlp.statistics.conformal_sets import ConformalSets
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.proportions import share_of


def set_rows(data: SplitData, fitted: Mapping[str, FittedFinding]) -> list[Metric]:
    """Return coverage (all, positives, negatives, groups), set size, abstention and accuracy of the answered."""
    rows: list[Metric] = []
    made = [
        (finding, rule.sets(finding.scores))
        for finding in data.findings
        if (rule := fitted[finding.name].sets) is not None and finding.reason is None
    ]
    sizes = data.draws([_mean_size(data, finding, sets) for finding, sets in made])
    for (finding, sets), drawn in zip(made, sizes, strict=True):
        covered, answered = sets.covered(finding.truth), sets.answered
        everything = np.ones(len(finding.truth), bool)
        found = [
            _share_row(data, finding, "conformal_coverage", covered, everything),
            _share_row(data, finding, "conformal_coverage_positive", covered, finding.truth),
            _share_row(data, finding, "conformal_coverage_negative", covered, ~finding.truth),
            _size_row(data, finding, sets, drawn[:, 0]),
            _share_row(data, finding, "abstention", ~answered, everything),
            _share_row(data, finding, "selective_accuracy", sets.correct(finding.truth), answered),
        ]
        for name, part in data.in_groups(finding):
            inside = np.isin(finding.at, part.at)
            for metric, success in (("conformal_coverage", covered), ("abstention", ~answered)):
                found.append(_share_row(data, part, metric, success[inside], np.ones(len(part.at), bool), group=name))
        rows += [replace(row, operating_point=f"conformal_{data.options.coverage:g}") for row in found]
    return rows


def _share_row(
    data: SplitData, finding: Finding, metric: str, success: np.ndarray, rows: np.ndarray, *, group: str | None = None
) -> Metric:
    row = data.row(finding, metric, group=group)
    if group is not None and finding.patients < data.options.min_group:
        return replace(row, reason="n_too_small")
    share = share_of(success[rows], finding.patient[rows], level=row.interval.level)
    if share.value is None:
        return replace(row, reason="none_answered" if metric == "selective_accuracy" else "no_rows")
    # A single class is no obstacle here: coverage and abstention exist for any rows.
    reason = None if row.reason in ("no_positives", "no_negatives") else row.reason
    return with_share(replace(row, reason=reason), share)


def _mean_size(data: SplitData, finding: Finding, sets: ConformalSets) -> Statistic:
    sums = np.stack(
        [
            np.bincount(finding.patient, weights=column, minlength=data.clusters.patients)
            for column in (np.ones(len(sets.size)), sets.size.astype(np.float64))
        ]
    )

    def statistic(weights: FloatArray) -> FloatArray:
        n, size = sums @ weights
        return np.where(n > 0, size / np.where(n > 0, n, 1.0), np.nan)[:, None]

    return statistic


def _size_row(data: SplitData, finding: Finding, sets: ConformalSets, draws: FloatArray) -> Metric:
    value = float(sets.size.mean())
    row = replace(data.row(finding, "conformal_set_size"), value=value)
    if not len(draws):
        return row
    return with_interval(
        row, percentile_interval(draws, level=row.interval.level), method="patient_bootstrap", form="percentile"
    )

"""AUROC of few-shot classifiers: a mean over draws, with an interval over patients and draws, and the draws' spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medvlp.core.randomness import numpy_generator
from medvlp.evaluation.metric_row import with_draws
from medvlp.evaluation.probe_tables import truth_of
from medvlp.evaluation.results import Metric, Result, Role
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.split import Finding, SplitData, finding_of
from medvlp.statistics.bootstrap import Clusters, patient_clusters
from medvlp.statistics.few import TOO_FEW
from medvlp.statistics.intervals import DEFAULT_FORM
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.ranked import rank_rows


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The AUROC of every draw of one finding and number of shots, or their mean over findings.

    Attributes:
        point: ``(draws,)``.
        resampled: ``(resamples, draws)``.
        smaller: patients of the smaller class, of a mean summed.
    """

    point: FloatArray
    resampled: FloatArray
    smaller: int


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
    truths = {
        label: truth_of(label, labels, [len(patients), *(each.shape[1] for each in found.values())])
        for label, found in scores.items()
    }
    any_positive = np.any([truth == 1 for truth in truths.values()], axis=0)
    clusters = patient_clusters(np.asarray(patients).astype(str), any_positive)
    findings = tuple(_finding(label, truth, clusters) for label, truth in truths.items())
    options = ScoreOptions(seed=seed, resamples=resamples, min_positives=min_positives)
    data = SplitData(split, findings, clusters, (), options)
    rows: list[Metric] = []
    for shots in sorted({count for found in scores.values() for count in found}):
        metric, here = f"auroc@{shots}", [each for each in findings if shots in scores[each.name]]
        drawn = {each.name: _drawn(each, scores[each.name][shots], data) for each in here if each.reason is None}
        made = [(data.row(each, metric), drawn.get(each.name)) for each in here]
        averaged = [each for each in data.averaged() if each.name in drawn]
        if averaged:
            made.append((data.average_row(averaged, metric, "macro"), _mean([drawn[each.name] for each in averaged])))
        rows += [_measured(replace(row, chance=0.5), each, seed) for row, each in made]
    return Result(
        name=name,
        title=title,
        role=role,
        metrics=tuple(rows),
        cases=_cases(ids, patients, split, truths, scores),
        caveats=tuple(caveats),
    )


def _finding(label: str, truth: FloatArray, clusters: Clusters) -> Finding:
    at = np.flatnonzero(np.isin(truth, (0.0, 1.0)))
    scores = np.full(len(at), np.nan)  # every draw has its own
    return finding_of(label, at, truth[at] == 1, scores, clusters.patient[at])


def _drawn(finding: Finding, scores: FloatArray, data: SplitData) -> _Drawn:
    ranked = [rank_rows(finding.truth, draw[finding.at], finding.patient) for draw in scores]

    def statistic(weights: FloatArray) -> FloatArray:
        counts = np.ascontiguousarray(weights.T, dtype=np.int32)
        return np.stack([each.draws(counts)[:, 0] for each in ranked], axis=1)

    point = statistic(np.ones((data.clusters.patients, 1)))[0]
    return _Drawn(point, data.draws([statistic])[0], finding.smaller)


def _mean(drawn: Sequence[_Drawn]) -> _Drawn:
    """Return the mean over findings, draw by draw and resample by resample."""
    point, resampled = ([each.point for each in drawn], [each.resampled for each in drawn])
    return _Drawn(np.mean(point, axis=0), np.mean(resampled, axis=0), sum(each.smaller for each in drawn))


def _measured(row: Metric, drawn: _Drawn | None, seed: int) -> Metric:
    """Return the row with the mean over draws, its interval over patients and draws, and the draws' spread."""
    if drawn is None:
        return row
    draws, value = len(drawn.point), float(drawn.point.mean())
    tail = (1 - row.interval.level) / 2
    low, high = np.quantile(drawn.point, [tail, 1 - tail])
    row = replace(
        row,
        value=value,
        counts=replace(row.counts, draws=draws),
        interval=replace(row.interval, draws_low=float(low), draws_high=float(high)),
    )
    if not len(drawn.resampled) or row.reason in TOO_FEW:
        return row
    # The same draws of draws for every finding and number of shots, as the same patients are drawn for all.
    again = numpy_generator(seed, 0, "few_shot/bootstrap").integers(0, draws, size=(len(drawn.resampled), draws))
    means = np.take_along_axis(drawn.resampled, again, axis=1).mean(axis=1)
    return with_draws(row, means, form=DEFAULT_FORM, patients=drawn.smaller, method="patient_draw_bootstrap")


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

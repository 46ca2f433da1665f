"""How much better one writer's reports agree with the radiologists' than another's, over the same studies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvlp.evaluation.metric_row import metric_row
from medvlp.evaluation.results import Counts, Metric, Result
from medvlp.statistics.bootstrap import bootstrap, patient_clusters
from medvlp.statistics.metrics import FloatArray

__all__ = ["f1_difference"]


def f1_difference(
    one: Result, other: Result, patients: Sequence[str], *, label: str, seed: int, resamples: int
) -> Metric:
    """Return micro F1 of one result less that of another, paired: each resample draws the same patients for both.

    Args:
        one: of `medvlp.evaluation.report_text.evaluate_reports`.
        other: of the same studies in the same order.
        patients: (S,) of the studies.
        label: of the row: who the other is.
        seed: of the bootstrap.
        resamples: over patients.

    Example:
        >>> from functools import partial
        >>> from medvlp.evaluation.report_text import evaluate_reports
        >>> judge = partial(evaluate_reports, ["Effusion.", "Edema."], patients=["p", "q"], seed=0, recipe="", data="",
        ...                 resamples=0)
        >>> right, wrong = judge(written=["Effusion.", "Edema."]), judge(written=["Edema.", "Effusion."])
        >>> f1_difference(right, wrong, ["p", "q"], label="swapped", seed=0, resamples=20).value
        1.0
    """
    clusters = patient_clusters(np.asarray(patients).astype(str))
    sides = [_sums(result) for result in (one, other)]

    def statistic(weights: FloatArray) -> FloatArray:
        row = weights[clusters.patient]
        f1 = []
        for top, bottom in sides:
            below = bottom @ row
            f1.append(np.where(below > 0, top @ row / np.where(below > 0, below, 1.0), np.nan))
        return (f1[0] - f1[1])[:, None]

    value = float(statistic(np.ones((clusters.patients, 1)))[0, 0])
    draws = bootstrap(statistic, clusters, resamples=resamples, seed=seed, height=len(patients)) if resamples else None
    row = Metric(
        metric="f1_difference",
        label=label,
        value=None,
        split=one.metrics[0].split,
        policy=one.metrics[0].policy,
        counts=Counts(n=len(patients), patients=clusters.patients),
    )
    return metric_row(row, value, None if draws is None else draws[:, 0])


def _sums(result: Result) -> tuple[FloatArray, FloatArray]:
    """Return (S,) 2 TP and 2 TP + FP + FN of each study."""
    cases = result.cases
    assert cases is not None, "evaluate_reports keeps its cases"
    names = [[name for name in cases.columns if name.startswith(prefix)] for prefix in ("said:", "wrote:")]
    said, wrote = (cases[some].to_numpy(dtype=float) for some in names)
    return 2 * (said * wrote).sum(axis=1), said.sum(axis=1) + wrote.sum(axis=1)

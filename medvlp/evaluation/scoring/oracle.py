"""What thresholds tuned on the test rows themselves reach: for comparison with papers that did so, never as a result.

The rows are named ``oracle_``. In a resample the threshold is tuned again, so the interval is that of the whole
practice, its optimism included.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medvlp.evaluation.metric_row import with_draws
from medvlp.evaluation.results import Metric
from medvlp.evaluation.scoring.split import SplitData, average_weights
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.ranked import rank_rows

_METRICS = (
    ("oracle_f1", "max_f1"),
    ("oracle_accuracy", "max_f1"),
    ("oracle_sensitivity", "youden"),
    ("oracle_specificity", "youden"),
)


def oracle_rows(data: SplitData) -> list[Metric]:
    """Return F1 and accuracy at the largest F1, sensitivity and specificity at the largest Youden index, and means."""
    defined = [finding for finding in data.findings if finding.reason is None]
    ranked = [rank_rows(each.truth, each.scores, each.patient) for each in defined]

    def statistic(weights: FloatArray) -> FloatArray:
        counts = np.ascontiguousarray(weights.T, dtype=np.int32)
        return np.array([[value for rows in ranked for value in rows.tuned(row)] for row in counts])

    if not defined:
        return []
    point = statistic(np.ones((data.clusters.patients, 1)))[0].reshape(len(defined), 4)
    draws = data.draws([statistic])[0].reshape(-1, len(defined), 4)
    taking_part = {finding.name for finding in data.averaged()}
    averaged = [at for at, finding in enumerate(defined) if finding.name in taking_part]
    weights = average_weights([defined[at] for at in averaged], "macro") if averaged else np.empty(0)
    rows = []
    for column, (metric, rule) in enumerate(_METRICS):
        made = [
            (data.row(finding, metric), float(point[at, column]), draws[:, at, column])
            for at, finding in enumerate(defined)
        ]
        if averaged:
            row = data.average_row([defined[at] for at in averaged], metric, "macro")
            made.append((row, float(weights @ point[averaged, column]), draws[:, averaged, column] @ weights))
        for row, value, drawn in made:
            row = replace(row, value=value, operating_point=rule)
            rows.append(with_draws(row, drawn, form="percentile", patients=row.counts.patients))
    return rows

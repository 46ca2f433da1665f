"""A reported number as a function of patient weights, made again from its per-case table.

So two models are compared on the same resampled patients. The number at equal weights must be the reported one:
a table that does not give it back is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from medvlp.core.errors import DataError
from medvlp.core.provenance import hash_of
from medvlp.evaluation.predictions import check_policy
from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.split import SplitData, split_data
from medvlp.statistics.bootstrap import Clusters, patient_clusters
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.ranked import rank_rows
from medvlp.statistics.table import rank_metrics

_NEAR = 1e-9


@dataclass(frozen=True, slots=True)
class Redrawn:
    """A number that can be made again on resampled patients.

    Attributes:
        cases: hash of ids, patients and labels: two numbers of equal cases can be paired.
        fewest: patients in the smaller class of the finding that has fewest; a bootstrap of very few shows nothing.
        clusters: the patients, in an order that equal cases share.
        draw: patient weights ``(P, B)`` -> ``(B,)``, NaN where it is not defined.
    """

    cases: str
    fewest: int
    clusters: Clusters = field(repr=False)
    draw: Callable[[FloatArray], FloatArray] = field(repr=False)


def redraw(result: Result, row: Metric) -> Redrawn | None:
    """Return a row of a result as a function of patient weights.

    The metrics of rankings (of a finding or macro, of a group or everybody), recall and mean rank are known.

    Args:
        result: with its cases.
        row: one of its metrics.

    Returns:
        None where the metric is another one, not defined, or its cases were not kept.

    Raises:
        DataError: if the cases do not give the reported value.

    Example:
        >>> from medvlp.evaluation.classification import evaluate_scores
        >>> table = pd.DataFrame({"id": list("abcd"), "patient_id": list("ABCD"),
        ...                       "label:effusion": [0, 0, 1, 1], "score:effusion": [0.1, 0.4, 0.35, 0.8]})
        >>> result = evaluate_scores(table, seed=0, resamples=0)
        >>> made = redraw(result, result.find("auroc", "effusion"))
        >>> made.draw(np.array([[1.0, 1, 1, 1], [1, 0, 1, 1]]).T).tolist()
        [0.75, 1.0]
    """
    if result.cases is None or row.value is None:
        return None
    table = result.cases
    if row.split and "split" in table:
        table = table[table["split"].astype(str) == row.split]
    if row.metric in rank_metrics():
        made = _ranking(table, row, result.metrics)
    elif re.fullmatch(r"recall@\d+|mean_rank", row.metric):
        made = _retrieval(table, row)
    else:
        return None
    if made is None:
        return None
    again = float(made.draw(np.ones((made.clusters.patients, 1)))[0])
    if not abs(again - row.value) <= _NEAR:
        raise DataError(
            f"Result {result.name!r} reports {row.metric} {row.label} = {row.value:.6g}, its per-case table gives "
            f"{again:.6g}: they are not of one evaluation, evaluate again."
        )
    return made


def _ranking(table: pd.DataFrame, row: Metric, reported: Sequence[Metric]) -> Redrawn | None:
    table = table.sort_values("id", kind="stable").reset_index(drop=True)
    names = [str(column).removeprefix("label:") for column in table.columns if str(column).startswith("label:")]
    findings = [name for name in names if f"score:{name}" in table]
    if not len(table) or (row.label != "macro" and row.label not in findings):
        return None
    options = ScoreOptions(policy=check_policy(row.policy), min_positives=row.counts.min_positives or 1)
    data = split_data(table, findings, name=row.split, options=options)
    members = list(data.findings)
    if row.group is not None:
        members = [part for group in data.groups if group.name == row.group for _, part in data.in_group(group)]
    wanted = _averaged(row, data, reported) if row.label == "macro" else {row.label}
    chosen = [each for each in members if each.name in wanted and each.reason is None]
    if not chosen:
        return None
    ranked = [rank_rows(each.truth, each.scores, each.patient) for each in chosen]
    at = list(rank_metrics()).index(row.metric)

    def draw(weights: FloatArray) -> FloatArray:
        whole = np.ascontiguousarray(weights.T).astype(np.int32)
        return np.mean([rows.draws(whole)[:, at] for rows in ranked], axis=0)

    known = {each.name: [each.at.tolist(), each.truth.tolist()] for each in data.findings}
    facts = [table["id"].astype(str).tolist(), table["patient_id"].astype(str).tolist(), known]
    return Redrawn(hash_of(facts), min(each.smaller for each in chosen), data.clusters, draw)


def _averaged(row: Metric, data: SplitData, reported: Sequence[Metric]) -> set[str]:
    """Return the findings of a mean: common enough among everybody, and in a group those that it has a number of."""
    common = {each.name for each in data.averaged()}
    if row.group is None:
        return common
    place = (row.metric, row.split, row.group)
    given = (each for each in reported if (each.metric, each.split, each.group) == place and each.value is not None)
    return common & {each.label for each in given}


def _retrieval(table: pd.DataFrame, row: Metric) -> Redrawn | None:
    column = "expected_rank" if row.metric == "mean_rank" else row.metric
    if not {"direction", "relevant", column} <= set(table.columns):
        return None
    table = table[table["direction"] == row.label].sort_values("id", kind="stable").reset_index(drop=True)
    clusters = patient_clusters(table["patient_id"].astype(str))
    chosen = np.ones(len(table), dtype=bool)
    if row.group is not None:
        most = re.fullmatch(r"report_group<=(\d+)", row.group)
        if most is None:
            return None
        chosen = (table["relevant"] <= int(most.group(1))).to_numpy()
    patient, values = clusters.patient[chosen], table.loc[chosen, column].to_numpy(np.float64)
    if not len(values):
        return None

    def draw(weights: FloatArray) -> FloatArray:
        rows = weights[patient]
        total = rows.sum(axis=0)
        return np.where(total > 0, values @ rows / np.where(total > 0, total, 1.0), np.nan)

    facts = [table[name].astype(str).tolist() for name in ("id", "patient_id", "relevant")]
    return Redrawn(hash_of([*facts, row.counts.pool]), len(np.unique(patient)), clusters, draw)

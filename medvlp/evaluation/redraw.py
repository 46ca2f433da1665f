"""A reported number as a function of patient weights, made again from its per-case table.

So two models are compared on the same resampled patients. The number at equal weights must be the reported one:
a table that does not give it back is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medvlp.core.errors import DataError
from medvlp.core.provenance import hash_of
from medvlp.evaluation.predictions import KnownRows, check_policy, groups_of, known_rows
from medvlp.evaluation.results import Metric, Result
from medvlp.statistics.bootstrap import Clusters, count_patients, patient_clusters
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
    parsed = {finding: known_rows(table, finding, policy=check_policy(row.policy)) for finding in findings}
    clusters = patient_clusters(
        table["patient_id"].astype(str), np.any([each.positive for each in parsed.values()], axis=0)
    )
    inside = _inside(table, row.group, parsed)
    ranked, fewest = [], len(table)
    for finding in _averaged(row, parsed, reported) if row.label == "macro" else [row.label]:
        if finding not in inside:
            continue
        rows = np.flatnonzero(parsed[finding].known & inside[finding])
        truth = parsed[finding].positive[rows]
        if not truth.any() or truth.all():
            continue
        patient = clusters.patient[rows]
        ranked.append(rank_rows(truth, parsed[finding].scores[rows], patient))
        fewest = min(fewest, count_patients(patient[truth]), count_patients(patient[~truth]))
    if not ranked:
        return None
    at = list(rank_metrics()).index(row.metric)

    def draw(weights: FloatArray) -> FloatArray:
        whole = np.ascontiguousarray(weights.T).astype(np.int32)
        return np.mean([rows.draws(whole)[:, at] for rows in ranked], axis=0)

    known = {finding: np.where(each.known, each.positive, -1).tolist() for finding, each in parsed.items()}
    facts = [table["id"].astype(str).tolist(), table["patient_id"].astype(str).tolist(), known]
    return Redrawn(hash_of(facts), fewest, clusters, draw)


def _averaged(row: Metric, parsed: Mapping[str, KnownRows], reported: Sequence[Metric]) -> list[str]:
    """Return the findings of a mean: common enough among everybody, and in a group those that it has a number of."""
    common = [name for name, each in parsed.items() if each.positive.sum() >= (row.counts.min_positives or 1)]
    if row.group is None:
        return common
    place = (row.metric, row.split, row.group)
    given = {
        each.label for each in reported if (each.metric, each.split, each.group) == place and each.value is not None
    }
    return [name for name in common if name in given]


def _inside(table: pd.DataFrame, name: str | None, parsed: Mapping[str, KnownRows]) -> dict[str, NDArray[np.bool_]]:
    """Return the rows of a group for each finding that it divides."""
    if name is None:
        return {finding: np.ones(len(table), dtype=bool) for finding in parsed}
    groups = [group for group in groups_of(table, list(parsed)) if group.name == name]
    return {finding: group.inside(parsed[finding].positive) for group in groups for finding in group.findings}


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

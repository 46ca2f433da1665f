"""Rows of results at operating points: shares with Wilson intervals, F1 and MCC by bootstrap, averages, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medvlp.evaluation.metric_row import with_draws, with_interval, with_share
from medvlp.evaluation.results import AVERAGES, Metric
from medvlp.evaluation.scoring.fitted import FittedFinding
from medvlp.evaluation.scoring.split import Finding, SplitData, average_weights
from medvlp.statistics.confusion import CallCounts, Confusion, call_counts, why_undefined
from medvlp.statistics.influence import acceleration
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.operating_points import OperatingPoint
from medvlp.statistics.predictive_values import predictive_values
from medvlp.statistics.proportions import Share, share_of
from medvlp.statistics.table import METRICS, call_metrics

_SHARES = ("sensitivity", "specificity", "ppv", "npv", "accuracy")


@dataclass(frozen=True, slots=True)
class _Counted:
    """A finding at its K operating points: tables of all rows, and of every resample ``(K, B)``."""

    finding: Finding
    points: tuple[OperatingPoint, ...]
    counts: CallCounts
    table: Confusion
    drawn: Confusion


def threshold_rows(data: SplitData, fitted: Mapping[str, FittedFinding]) -> list[Metric]:
    """Return the rows of all findings at the operating points that were chosen on validation rows."""
    metrics: list[Metric] = []
    counted = _count(data, fitted)
    by_name = {each.finding.name: each for each in counted}
    for at, rule in enumerate(data.options.points):
        for finding in data.findings:
            if finding.name in by_name:
                metrics += _finding_rows(data, by_name[finding.name], at)
            else:
                reason = finding.reason or fitted[finding.name].reason
                rows = (data.row(finding, metric) for metric in call_metrics())
                metrics += [replace(row, operating_point=rule, reason=reason) for row in rows]
        taking_part = {finding.name for finding in data.averaged()}
        metrics += _average_rows(data, [each for each in counted if each.finding.name in taking_part], at, rule)
    return metrics


def _count(data: SplitData, fitted: Mapping[str, FittedFinding]) -> list[_Counted]:
    patients = data.clusters.patients
    ready: list[tuple[Finding, tuple[OperatingPoint, ...], CallCounts]] = []
    for finding in data.findings:
        points = fitted[finding.name].points
        if finding.reason is None and points:
            thresholds = [point.threshold for point in points]
            counts = call_counts(finding.truth, finding.scores, thresholds, finding.patient, patients)
            ready.append((finding, points, counts))
    if not ready:
        return []

    def statistic(weights: FloatArray) -> FloatArray:
        tables = [counts.tables(weights) for _, _, counts in ready]
        return np.concatenate([part for t in tables for part in (t.tp, t.fp, t.fn, t.tn)]).T

    draws = data.draws([statistic])[0].T
    k = len(data.options.points)
    whole = np.ones((patients, 1))
    counted = []
    for at, (finding, points, counts) in enumerate(ready):
        parts = [draws[(4 * at + part) * k : (4 * at + part + 1) * k] for part in range(4)]
        counted.append(_Counted(finding, points, counts, counts.tables(whole), Confusion(*parts)))
    return counted


def _finding_rows(data: SplitData, counted: _Counted, at: int) -> list[Metric]:
    point, finding = counted.points[at], counted.finding
    place = {"operating_point": point.rule, "threshold": point.threshold}
    rows = []
    for metric in call_metrics():
        row = replace(data.row(finding, metric), **place)
        if metric in _SHARES:
            rows.append(_with_share(row, _share(finding, metric, point.threshold, data.options.level)))
        else:
            rows.append(_drawn_row(data, row, counted, metric, at))
    rows += [replace(row, **place) for row in _stated_prevalence(data, finding, point.threshold)]
    for name, part in data.in_groups(finding):
        for metric in ("sensitivity", "specificity", "ppv", "npv"):
            row = replace(data.row(part, metric, group=name), **place)
            if data.too_small(part):
                rows.append(replace(row, reason="n_too_small"))
                continue
            rows.append(_with_share(row, _share(part, metric, point.threshold, data.options.level)))
    return rows


def _share(finding: Finding, metric: str, threshold: float, level: float) -> Share:
    called, truth = finding.scores >= threshold, finding.truth
    rows, success = {
        "sensitivity": (truth, called),
        "specificity": (~truth, ~called),
        "ppv": (called, truth),
        "npv": (~called, ~truth),
        "accuracy": (np.ones(len(truth), bool), called == truth),
    }[metric]
    return share_of(success[rows], finding.patient[rows], level=level)


_MISSING = {"sensitivity": "no_positives", "specificity": "no_negatives", "ppv": "none_called", "npv": "all_called"}


def _with_share(row: Metric, share: Share) -> Metric:
    if share.value is None:
        return replace(row, reason=_MISSING.get(row.metric, "no_rows"))
    return with_share(row, share)


def _drawn_row(data: SplitData, row: Metric, counted: _Counted, metric: str, at: int) -> Metric:
    value = float(counted.table.metric(metric)[at, 0])
    if np.isnan(value):
        return replace(row, reason=why_undefined(_whole(counted, at)))
    row = replace(row, value=value)
    draws = counted.drawn.metric(metric)[at]
    form, signed, patients = data.options.interval, METRICS[metric].signed, counted.finding.smaller
    bca = form == "bca" and len(draws) > 0
    speed = acceleration(_influence(counted, metric, at, data), data.clusters) if bca else None
    return with_draws(row, draws, form=form, patients=patients, signed=signed, acceleration=speed)


def _influence(counted: _Counted, metric: str, at: int, data: SplitData) -> FloatArray:
    """Return by how much leaving each patient out lowers the metric, ``(P,)``: a jackknife in one step."""
    # Each patient's own table: the counts, with every patient as a resample of one.
    dense = counted.counts.counts.toarray().reshape(2, -1, data.clusters.patients)
    above = np.cumsum(dense[:, ::-1], axis=1)[:, ::-1]
    called, total = above[:, 1 + counted.counts.place[at]], above[:, 0]
    whole = _whole(counted, at)
    without = Confusion(
        whole.tp - called[1], whole.fp - called[0], whole.fn - (total[1] - called[1]), whole.tn - (total[0] - called[0])
    ).metric(metric)
    moved = whole.metric(metric) - without
    return np.where(np.isnan(moved), 0.0, moved)


def _stated_prevalence(data: SplitData, finding: Finding, threshold: float) -> list[Metric]:
    level = data.options.level
    sensitivity = _share(finding, "sensitivity", threshold, level)
    specificity = _share(finding, "specificity", threshold, level)
    rows = []
    for prevalence in data.options.prevalences:
        found = predictive_values(sensitivity, specificity, prevalence=prevalence, level=level)
        for name, value, interval, missing in (
            ("ppv", found.ppv, found.ppv_interval, "none_called"),
            ("npv", found.npv, found.npv_interval, "all_called"),
        ):
            row = data.row(finding, f"{name}@{prevalence:g}")
            row = replace(row, counts=replace(row.counts, prevalence=prevalence), value=value)
            rows.append(
                replace(row, reason=missing)
                if value is None
                else with_interval(row, interval, method="mercaldo", form="logit")
            )
    return rows


def _average_rows(data: SplitData, counted: Sequence[_Counted], at: int, rule: str) -> list[Metric]:
    rows = []
    for metric in call_metrics():
        defined = [each for each in counted if not np.isnan(each.table.metric(metric)[at, 0])]
        for label in AVERAGES:
            # Pooled, the cases of a finding count even where it has no such number of its own (nothing was called).
            findings = [each.finding for each in (counted if label == "micro" and defined else defined)]
            row = replace(data.average_row(findings, metric, label), operating_point=rule)
            if not defined:
                if label == "macro":
                    why = (_MISSING.get(metric) or why_undefined(_whole(counted[0], at))) if counted else row.reason
                    rows.append(replace(row, reason=why))
                continue
            if label == "micro":
                value = _pooled([_at(each.table, at) for each in counted]).metric(metric)
                draws = _pooled([_at(each.drawn, at) for each in counted]).metric(metric)
            else:
                weights = average_weights(findings, label)
                value = np.tensordot(weights, np.stack([each.table.metric(metric)[at] for each in defined]), axes=1)
                draws = np.tensordot(weights, np.stack([each.drawn.metric(metric)[at] for each in defined]), axes=1)
            row = replace(row, value=float(value[0]))
            patients = sum(each.smaller for each in findings)
            rows.append(
                with_draws(row, draws, form=data.options.interval, patients=patients, signed=METRICS[metric].signed)
            )
    return rows


def _whole(counted: _Counted, at: int) -> Confusion:
    """Return the one table of all rows at an operating point."""
    table = counted.table
    return Confusion(table.tp[at, 0], table.fp[at, 0], table.fn[at, 0], table.tn[at, 0])


def _pooled(tables: Sequence[Confusion]) -> Confusion:
    return Confusion(
        *(np.stack(part) for part in zip(*((t.tp, t.fp, t.fn, t.tn) for t in tables), strict=True))
    ).pooled()


def _at(table: Confusion, at: int) -> Confusion:
    return Confusion(table.tp[at], table.fp[at], table.fn[at], table.tn[at])

"""What the page says of thresholds, calibration, decisions, abstention and comparisons, as rows for its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from medvlp.evaluation.predictions import check_policy, known_rows
from medvlp.evaluation.results import AVERAGES, Metric, Result
from medvlp.evaluation.rows import judged_rows
from medvlp.evaluation.words import finding, interval, map_words, name_of, number, percent, rule_words
from medvlp.pages.score_charts import decision_chart, reliability_chart
from medvlp.statistics.bootstrap import patient_clusters
from medvlp.statistics.calibration.calibrators import Calibrator
from medvlp.statistics.calibration.reliability import reliability_bins
from medvlp.statistics.decision_curve import DecisionCurve, decision_curve
from medvlp.statistics.few import TOO_FEW

# Rows times resamples of the band of one decision curve: a large cohort needs fewer to be as smooth.
_BAND_BUDGET = 10_000_000
_MAPS = ("platt", "dirichlet", "temperature", "isotonic")


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of metric rows.

    Attributes:
        name: of the table: a rule in words, a calibration.
        columns: headings.
        rows: name of the row, whether it is an average, and one metric row (or None) a column.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, bool, tuple[Metric | None, ...]], ...]


@dataclass(frozen=True, slots=True)
class ProbabilityFigure:
    """Charts of one finding."""

    name: str
    calibration: str
    error: str
    reliability: Markup
    benefit: str
    decision: Markup


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """All that validation rows allowed for one result; empty parts are left out.

    Attributes:
        result: whose.
        points: one table an operating point.
        prevalences: predictive values at stated prevalences, one table an operating point.
        calibrations: one table a map.
        figures: reliability and decision curves by finding.
        sets: conformal sets, named by the coverage that they promise.
        oracle: numbers tuned on the test cases, AUROC first.
        differences: of a comparison, one table a metric.
    """

    result: Result
    points: tuple[Grid, ...]
    prevalences: tuple[Grid, ...]
    calibrations: tuple[Grid, ...]
    figures: tuple[ProbabilityFigure, ...]
    sets: Grid | None
    oracle: Grid | None
    differences: tuple[Grid, ...]


def score_parts(result: Result, *, resamples: int, seed: int, key: str = "0") -> ScoreParts | None:
    """Return the parts of a result; None where it has none of them.

    Args:
        result: of `medvlp score` or `medvlp compare`.
        resamples: for the bands of decision curves.
        seed: of these.
        key: unique in the page; makes the charts' ids unique.
    """
    rows = judged_rows(row for row in result.metrics if row.group is None)
    called = [row for row in rows if row.metric == "sensitivity"]
    # A map's threshold is the map's (grounding shows it), not one that calls a finding.
    points = list(dict.fromkeys(p for row in called if not (p := row.operating_point or "").endswith("_validate")))
    maps = list(dict.fromkeys(row.calibration for row in rows if row.metric == "brier"))
    stated = list(dict.fromkeys(row.metric for row in rows if "pv@" in row.metric))
    shares = ("sensitivity", "specificity", "ppv", "npv", "f1")
    errors = ("brier", "log_loss", "ece", "smooth_ece", "calibration_slope", "calibration_intercept")
    sets = ("conformal_coverage", "conformal_coverage_positive", "conformal_coverage_negative", "abstention")
    sets = (*sets, "selective_accuracy")
    named = (row.operating_point or "" for row in rows if row.metric == sets[0])
    promised = next((percent(float(name.removeprefix("conformal_"))) for name in named), None)
    oracle = ("auroc", "oracle_f1", "oracle_accuracy", "oracle_sensitivity", "oracle_specificity")
    parts = ScoreParts(
        result=result,
        points=tuple(_grid(rows, rule_words(point), shares, operating_point=point) for point in points),
        prevalences=tuple(_grid(rows, rule_words(point), stated, operating_point=point) for point in points if stated),
        calibrations=tuple(_grid(rows, map_words(name), errors, calibration=name) for name in maps),
        figures=tuple(_figures(result, rows, resamples, seed, key)),
        sets=None if promised is None else _grid(rows, promised, sets, any_point=True),
        oracle=_grid(rows, "", oracle, any_point=True) if any(row.metric == oracle[1] for row in rows) else None,
        differences=tuple(_differences([row for row in result.metrics if row.group is None])),
    )
    shown = (parts.points, parts.calibrations, parts.sets, parts.oracle, parts.differences)
    return parts if any(shown) else None


def _grid(
    rows: Sequence[Metric],
    name: str,
    metrics: Sequence[str],
    *,
    operating_point: str | None = None,
    calibration: str | None = None,
    any_point: bool = False,
) -> Grid:
    chosen = {
        (row.metric, row.label): row
        for row in rows
        if row.metric in metrics
        and (any_point or (row.operating_point, row.calibration) == (operating_point, calibration))
    }
    there = [metric for metric in metrics if any(key[0] == metric for key in chosen)]
    # A label that most columns have: an average that only the AUROC knows would be a row of dashes.
    labels = dict.fromkeys(label for _, label in chosen)
    labels = [label for label in labels if 2 * sum((metric, label) in chosen for metric in there) >= len(there)]
    labels.sort(key=lambda label: label in AVERAGES)
    return Grid(
        name,
        tuple(_heading(metric) for metric in there),
        tuple(
            (_row_name(label, chosen, there), label in AVERAGES, tuple(chosen.get((m, label)) for m in there))
            for label in labels
        ),
    )


def _row_name(label: str, chosen: Mapping[tuple[str, str], Metric], metrics: Sequence[str]) -> str:
    if label not in AVERAGES:
        return finding(label)
    used = next((chosen[m, label].counts.labels_used for m in metrics if (m, label) in chosen), None)
    return f"{label} average over {used}"


def _heading(metric: str) -> str:
    name, _, prevalence = metric.partition("@")
    if prevalence:
        return f"{name_of(name)} at {100 * float(prevalence):g} %"
    return name_of(name)


def _differences(metrics: Sequence[Metric]) -> list[Grid]:
    """Return a table for AUROC, one for AP, and one for each operating point and calibration."""
    rows = [row for row in metrics if row.metric.endswith("_difference") and row.group is None]
    found = []
    for key in dict.fromkeys(_table_of(row) for row in rows):
        mine = [row for row in rows if _table_of(row) == key]
        several = len({row.metric for row in mine}) > 1
        lines = []
        for row in mine:
            name = _row_name(row.label, {(row.metric, row.label): row}, [row.metric])
            metric = name_of(row.metric.removesuffix("_difference"))
            lines.append((f"{metric}, {name}" if several else name, row.label in AVERAGES, (row,)))
        found.append(Grid(key, ("difference",), tuple(lines)))
    return found


def _table_of(row: Metric) -> str:
    if row.operating_point:
        return f"At a threshold: {rule_words(row.operating_point)}"
    name = name_of(row.metric.removesuffix("_difference"))
    return f"{name}, {map_words(row.calibration)}" if row.calibration else name


def _figures(result: Result, rows: Sequence[Metric], resamples: int, seed: int, key: str) -> list[ProbabilityFigure]:
    """Draw reliability and decision curves from the stored cases and calibrations."""
    if result.cases is None or not any(row.metric.startswith("net_benefit@") for row in rows):
        return []
    split = next(row.split for row in rows if row.metric.startswith("net_benefit@"))
    table = result.cases
    if "split" in table:
        table = table[table["split"].astype(str) == split].reset_index(drop=True)
    policy = check_policy(str(result.options.get("policy", "u_ignore")))
    figures = []
    drawn = dict.fromkeys(row.label for row in rows if row.metric.startswith("net_benefit@") and row.split == split)
    for at, label in enumerate(drawn):
        known = known_rows(table, label, policy=policy)
        benefit = next(r for r in rows if r.metric.startswith("net_benefit@") and r.label == label)
        name = benefit.calibration or "none"
        values, truth = known.scores[known.known], known.positive[known.known]
        draws = max(50, min(resamples, _BAND_BUDGET // max(len(truth), 1)))
        draws = 1 if benefit.reason in TOO_FEW else draws  # of one there is no band, as there is no interval
        if name in _MAPS:
            values = Calibrator.from_dict(result.fitted[label]["calibration"][name]).probabilities(values)
        patients = table.loc[known.known, "patient_id"].astype(str)
        error = next((r for r in rows if (r.metric, r.label, r.calibration) == ("ece", label, name)), None)
        level = 0.95 if error is None else error.interval.level
        bins = reliability_bins(truth, values, patients, level=level)
        curve = _curve(truth, values, patients, resamples=draws, seed=seed, level=level)
        figures.append(
            ProbabilityFigure(
                name=finding(label),
                calibration=map_words(name),
                error="" if error is None else _error_words(error),
                reliability=Markup(reliability_chart(bins, key=f"reliability-{key}-{at}")),
                benefit=_benefit_words(curve),
                decision=Markup(decision_chart(curve, prevalence=float(truth.mean()), key=f"decision-{key}-{at}")),
            )
        )
    return figures


def _error_words(row: Metric) -> str:
    return f"error {number(row.value)}" + (f" ({interval(row)})" if interval(row) else "")


def _curve(
    truth: np.ndarray, values: np.ndarray, patients: ArrayLike, *, resamples: int, seed: int, level: float = 0.95
) -> DecisionCurve:
    """Return a decision curve up to the largest probabilities that there are."""
    end = max(0.1, min(0.99, round(float(np.quantile(values, 0.995)) + 0.05, 2)))
    clusters, places = patient_clusters(patients, truth), np.linspace(0.01, end, 60)
    return decision_curve(truth, values, clusters, thresholds=places, resamples=resamples, seed=seed, level=level)


def _benefit_words(curve: DecisionCurve) -> str:
    # Calling everybody by the model is not above calling everybody, whatever rounding adds.
    better = np.flatnonzero(curve.model - np.maximum(curve.everybody, 0) > 1e-12)
    if not len(better):
        return "never above both"
    parts = "in parts " if np.ptp(better) >= len(better) else ""
    return f"above both {parts}from {curve.threshold[better[0]]:.2f} to {curve.threshold[better[-1]]:.2f}"

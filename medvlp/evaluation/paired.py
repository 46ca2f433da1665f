"""Differences of two sides that are judged on the same patients: what a resample does to one it does to the other.

A metric is a function of patient weights on either side; its difference is drawn by giving both the same weights. A
single finding's AUROCs are compared by DeLong's test for patients with several images, all else by the bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medvlp.core.errors import DataError
from medvlp.evaluation.scoring.split import Finding, SplitData, Statistic
from medvlp.statistics.calibration.calibrators import Calibrator
from medvlp.statistics.confusion import call_counts
from medvlp.statistics.delong import PairedTest, compare_areas
from medvlp.statistics.metrics import FloatArray, UndefinedMetricError
from medvlp.statistics.ranked import rank_rows
from medvlp.statistics.table import call_metrics, rank_metrics

Pair = tuple[Finding, Finding]


@dataclass(frozen=True, slots=True)
class Place:
    """Which number: a metric at an operating point, or of calibrated probabilities, or of the scores alone."""

    metric: str
    operating_point: str | None = None
    calibration: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One number on both sides, with draws of second less first.

    Attributes:
        place: which number.
        label: finding, or ``macro``.
        findings: that it is over.
        first, second: the numbers.
        draws: ``(resamples,)``.
        test: DeLong's, where there is one.
    """

    place: Place
    label: str
    findings: tuple[str, ...]
    first: float
    second: float
    draws: FloatArray
    test: PairedTest | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """Numbers that are computed together: which, of which finding, and on each side as functions of the weights."""

    keys: tuple[tuple[Place, str], ...]
    first: Statistic
    second: Statistic

    def difference(self, weights: FloatArray) -> FloatArray:
        return self.second(weights) - self.first(weights)


def paired_differences(
    one: SplitData, other: SplitData, fitted: Mapping[str, object], fitted_other: Mapping[str, object]
) -> list[Difference]:
    """Return the differences of every finding and their macro averages.

    The metrics of the ranking, and the threshold metrics and Brier scores of what both sides fitted on validation
    rows, each side with its own thresholds and maps. A number that one side lacks is left out, of the average too.

    Args:
        one: the first side's split.
        other: the second one's, with the same rows, patients and labels.
        fitted, fitted_other: what each side fitted, as results store it.
    """
    pairs = [(first, second) for first, second in zip(one.findings, other.findings, strict=True) if not first.reason]
    if not pairs:
        return []
    parts = [_ranking(pairs)]
    parts += [part for pair in pairs for part in _calls(pair, fitted, fitted_other, one.clusters.patients)]
    parts += [part for pair in pairs for part in _briers(pair, fitted, fitted_other, one.clusters.patients)]
    whole = np.ones((one.clusters.patients, 1))
    by_name = {pair[0].name: pair for pair in pairs}
    found = []
    for part, drawn in zip(parts, one.draws([part.difference for part in parts]), strict=True):
        first, second = part.first(whole)[0], part.second(whole)[0]
        for at, (place, name) in enumerate(part.keys):
            if not np.isnan(first[at] + second[at]):
                made = Difference(place, name, (name,), float(first[at]), float(second[at]), drawn[:, at])
                found.append(_by_delong(made, by_name[name], one.options.level) if place.metric == "auroc" else made)
    return [*found, *_macros(found, {finding.name for finding in one.averaged()})]


def _ranking(pairs: Sequence[Pair]) -> _Part:
    def side(at: int) -> Statistic:
        ranked = [rank_rows(pair[at].truth, pair[at].scores, pair[at].patient) for pair in pairs]

        def statistic(weights: FloatArray) -> FloatArray:
            counts = np.ascontiguousarray(weights.T, dtype=np.int32)
            return np.concatenate([rows.draws(counts) for rows in ranked], axis=1)

        return statistic

    return _Part(tuple((Place(m), pair[0].name) for pair in pairs for m in rank_metrics()), side(0), side(1))


def _calls(pair: Pair, fitted: Mapping[str, object], fitted_other: Mapping[str, object], patients: int) -> list[_Part]:
    name = pair[0].name
    mine, theirs = (_entries(each, name, "operating_points") for each in (fitted, fitted_other))
    rules = [rule for rule in mine if rule in theirs]
    if not rules:
        return []

    def side(finding: Finding, points: Mapping[str, object]) -> Statistic:
        thresholds = [_threshold(points[rule]) for rule in rules]
        counts = call_counts(finding.truth, finding.scores, thresholds, finding.patient, patients)

        def statistic(weights: FloatArray) -> FloatArray:
            tables = counts.tables(weights)
            return np.concatenate([tables.metric(metric) for metric in call_metrics()]).T

        return statistic

    keys = tuple((Place(metric, operating_point=rule), name) for metric in call_metrics() for rule in rules)
    return [_Part(keys, side(pair[0], mine), side(pair[1], theirs))]


def _briers(pair: Pair, fitted: Mapping[str, object], fitted_other: Mapping[str, object], patients: int) -> list[_Part]:
    name = pair[0].name
    mine, theirs = (_entries(each, name, "calibration") for each in (fitted, fitted_other))
    maps = [each for each in mine if each in theirs]
    if not maps:
        return []

    def side(finding: Finding, stored: Mapping[str, Mapping[str, object]]) -> Statistic:
        made = [Calibrator.from_dict(stored[each]).probabilities(finding.scores) for each in maps]
        columns = [np.ones(len(finding.truth)), *((values - finding.truth) ** 2 for values in made)]
        sums = np.stack([np.bincount(finding.patient, weights=column, minlength=patients) for column in columns])

        def statistic(weights: FloatArray) -> FloatArray:
            n, *squares = sums @ weights
            return np.stack(squares, axis=1) / np.where(n > 0, n, np.nan)[:, None]

        return statistic

    keys = tuple((Place("brier", calibration=each), name) for each in maps)
    return [_Part(keys, side(pair[0], mine), side(pair[1], theirs))]


def _entries(fitted: Mapping[str, object], name: str, key: str) -> Mapping[str, Mapping[str, object]]:
    finding = fitted.get(name)
    entries = finding.get(key) if isinstance(finding, Mapping) else None
    return entries if isinstance(entries, Mapping) else {}


def _threshold(stored: object) -> float:
    value = stored.get("threshold") if isinstance(stored, Mapping) else None
    if not isinstance(value, int | float):
        raise DataError("A stored operating point has no threshold that is a number: score the predictions again.")
    return float(value)


def _by_delong(found: Difference, pair: Pair, level: float) -> Difference:
    first, second = pair
    try:
        test = compare_areas(first.truth, first.scores, second.scores, first.patient, level=level)
    except UndefinedMetricError:  # one class has a single patient
        return found
    return replace(found, test=test)


def _macros(found: Sequence[Difference], taking_part: set[str]) -> list[Difference]:
    """Return the mean of each number over the findings that take part and have it, where there are several."""
    rows = []
    for place in dict.fromkeys(each.place for each in found):
        mine = [each for each in found if each.place == place and each.label in taking_part]
        if len(mine) > 1:
            rows.append(
                Difference(
                    place,
                    "macro",
                    tuple(each.label for each in mine),
                    float(np.mean([each.first for each in mine])),
                    float(np.mean([each.second for each in mine])),
                    np.mean([each.draws for each in mine], axis=0),
                )
            )
    return rows

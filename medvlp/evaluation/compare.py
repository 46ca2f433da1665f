"""Two results on the same cases: differences with paired, patient-clustered intervals and corrected p values.

Both sides are judged on the same patients, so what a resample does to one it does to the other. A single finding's
AUROCs are compared by DeLong's test for patients with several images, all else by the bootstrap. Each metric's p values
are corrected after Holm for the findings compared; its macro average is one test of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from medvlp.core.errors import DataError
from medvlp.core.provenance import hash_of
from medvlp.evaluation.bootstrap import Interval, percentile_interval
from medvlp.evaluation.confusion import THRESHOLD_METRICS, call_counts
from medvlp.evaluation.delong import compare_areas
from medvlp.evaluation.holm import holm
from medvlp.evaluation.metrics import FloatArray, UndefinedMetricError
from medvlp.evaluation.predictions import check_policy, checked_findings
from medvlp.evaluation.ranked import rank_rows
from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.split import Finding, SplitData, Statistic, split_data
from medvlp.prediction.calibrators import Calibrator

__all__ = ["bootstrap_p", "compare_results"]


@dataclass(frozen=True, slots=True)
class _Compared:
    """One metric of one finding on both sides, with draws of the difference."""

    metric: str
    label: str
    first: float
    second: float
    draws: FloatArray
    operating_point: str | None = None
    calibration: str | None = None
    p: float | None = None
    interval: Interval | None = None


def bootstrap_p(draws: FloatArray) -> float:
    """Return the two-sided p value of "no difference": twice the smaller share of draws on one side of 0, 0 included.

    One draw is added to each side, so that it is never 0.

    Example:
        >>> bootstrap_p(np.array([0.1, 0.2, 0.3])), bootstrap_p(np.zeros(5))
        (0.5, 1.0)
    """
    defined = draws[~np.isnan(draws)]
    smaller = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(defined) + 1))


def compare_results(
    first: Result,
    second: Result,
    *,
    split: str | None = None,
    common: bool = False,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    min_positives: int = 1,
) -> Result:
    """Return the differences, second less first, of AUROC, AP, and what was fitted on validation on both sides.

    Args:
        first: a result with its cases.
        second: another one.
        split: whose cases; by default ``test``, else the one split that is not ``validate`` or ``train``.
        common: compare on the cases that both have; without it, differing cases are refused.
        resamples: of patients, for all that DeLong's test does not cover.
        level: of the intervals.
        seed: of the bootstrap.
        min_positives: positive rows that a finding needs to take part in the macro average.

    Raises:
        DataError: if cases are missing, differ, or have other labels or patients on the two sides; if the results treat
            uncertain labels differently, or share no finding.
    """
    policies = {str(each.options.get("policy", "u_ignore")) for each in (first, second)}
    if len(policies) > 1:
        raise DataError(f"The results treat uncertain labels as {' and '.join(sorted(policies))}: score both alike.")
    tables = [_cases(each, split) for each in (first, second)]
    one, other, left_out = _aligned(*tables, common=common)
    findings = [name for name in checked_findings(one) if name in checked_findings(other)]
    if not findings:
        raise DataError("The results share no finding: there is nothing to compare.")
    options = ScoreOptions(
        seed=seed,
        resamples=resamples,
        level=level,
        policy=check_policy(policies.pop()),
        min_positives=min_positives,
    )
    name = str(one["split"].iloc[0]) if "split" in one else ""
    sides = [split_data(table, findings, name=name, options=options) for table in (one, other)]
    compared = _compare(sides[0], sides[1], first.fitted, second.fitted)
    rows = [_row(sides[0], each) for each in compared]
    return Result(
        name="comparison",
        title=f"{_title(second)} against {_title(first)}",
        synthetic=first.synthetic or second.synthetic,
        recipe=hash_of([first.recipe, second.recipe, options.to_dict()]),
        data=first.data if first.data == second.data else hash_of([first.data, second.data]),
        metrics=tuple(_corrected(rows)),
        options={
            "first": {"name": _title(first), "recipe": first.recipe, "data": first.data},
            "second": {"name": _title(second), "recipe": second.recipe, "data": second.data},
            "split": name,
            "resamples": resamples,
            "level": level,
            "seed": seed,
            "policy": options.policy,
            "cases": len(one),
            "left_out": left_out,
        },
    )


def _cases(result: Result, split: str | None) -> pd.DataFrame:
    if result.cases is None:
        raise DataError(f"Result {result.name!r} has no per-case table: make it again and keep the table beside it.")
    if "split" not in result.cases:
        if split is not None:
            raise DataError(f"Result {result.name!r} names no splits, so it has no {split!r}: leave --split out.")
        return result.cases
    splits = result.cases["split"].astype(str)
    wanted = split
    if wanted is None:
        there = [each for each in splits.unique() if each not in ("train", "validate")]
        wanted = "test" if "test" in there else there[0] if len(there) == 1 else None
        if wanted is None:
            raise DataError(f"Result {result.name!r} has the splits {', '.join(splits.unique())}: name one by --split.")
    rows = result.cases[splits == wanted]
    if rows.empty:
        raise DataError(
            f"Result {result.name!r} has no cases of split {wanted!r}: it has {', '.join(splits.unique())}."
        )
    return rows


def _aligned(
    one: pd.DataFrame, other: pd.DataFrame, *, common: bool
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Return both tables in one order of the same cases, and how many of each were left out."""
    first, second = (table.assign(id=table["id"].astype(str)).set_index("id", drop=False) for table in (one, other))
    shared = first.index.intersection(second.index, sort=True)
    left_out = {"first": len(first) - len(shared), "second": len(second) - len(shared)}
    if any(left_out.values()) and not common:
        raise DataError(
            f"The results are of different cases: {left_out['first']} are only in the first and {left_out['second']} "
            f"only in the second; score the same cases, or compare the {len(shared)} that both have by --common."
        )
    if not len(shared):
        raise DataError("The results share no case: there is nothing to compare.")
    first, second = first.loc[shared].reset_index(drop=True), second.loc[shared].reset_index(drop=True)
    moved = int((first["patient_id"].astype(str) != second["patient_id"].astype(str)).sum())
    if moved:
        raise DataError(f"{moved} cases have another patient_id in the second result: score one list of patients.")
    for column in (str(c) for c in first.columns if str(c).startswith("label:") and c in second):
        values = [pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64) for table in (first, second)]
        differ = int((~((values[0] == values[1]) | (np.isnan(values[0]) & np.isnan(values[1])))).sum())
        if differ:
            raise DataError(f"{differ} cases have another {column} in the second result: use the same labels for both.")
    return first, second, left_out


def _compare(
    one: SplitData, other: SplitData, fitted: Mapping[str, object], fitted_other: Mapping[str, object]
) -> list[_Compared]:
    pairs = [
        (first, second) for first, second in zip(one.findings, other.findings, strict=True) if first.reason is None
    ]
    ranked = [tuple(rank_rows(side.truth, side.scores, side.patient) for side in pair) for pair in pairs]

    def rank_differences(weights: FloatArray) -> FloatArray:
        counts = np.ascontiguousarray(weights.T, dtype=np.int32)
        return np.concatenate([second.draws(counts) - first.draws(counts) for first, second in ranked], axis=1)

    if not pairs:
        return []
    places = [_thresholds(first.name, fitted, fitted_other) for first, _ in pairs]
    maps = [_calibrators(first.name, fitted, fitted_other) for first, _ in pairs]
    statistics: list[Statistic] = [rank_differences]
    statistics += [_call_differences(one, pair, place) for pair, place in zip(pairs, places, strict=True) if place]
    statistics += [_brier_differences(one, pair, each) for pair, each in zip(pairs, maps, strict=True) if each]
    whole = np.ones((one.clusters.patients, 1))
    drawn = iter(one.draws(statistics))
    draws = next(drawn)
    found: list[_Compared] = []
    unit = np.ones(one.clusters.patients, np.int32)
    for at, ((first, _), (left, right)) in enumerate(zip(pairs, ranked, strict=True)):
        values = left.both(unit), right.both(unit)
        for column, metric in enumerate(("auroc", "average_precision")):
            compared = _Compared(metric, first.name, values[0][column], values[1][column], draws[:, 2 * at + column])
            found.append(_by_delong(compared, pairs[at], one.options.level) if metric == "auroc" else compared)
    for pair, place in zip(pairs, places, strict=True):
        if place:
            found += _calls(one, pair, place, next(drawn), whole)
    for pair, each in zip(pairs, maps, strict=True):
        if each:
            found += _briers(pair, each, next(drawn))
    return [*found, *_macros(found, {finding.name for finding in one.averaged()})]


def _by_delong(compared: _Compared, pair: tuple[Finding, Finding], level: float) -> _Compared:
    first, second = pair
    try:
        test = compare_areas(first.truth, first.scores, second.scores, first.patient, level=level)
    except UndefinedMetricError:
        return compared
    return replace(compared, p=test.p, interval=Interval(test.low, test.high, 0, 0))


_Places = list[tuple[str, float, float]]
_Maps = list[tuple[str, Calibrator, Calibrator]]


def _thresholds(name: str, fitted: Mapping[str, object], other: Mapping[str, object]) -> _Places:
    """Return (rule, threshold, other threshold) of the rules that both sides fitted for a finding."""
    mine, theirs = _entries(fitted, name, "operating_points"), _entries(other, name, "operating_points")
    return [(rule, float(mine[rule]["threshold"]), float(theirs[rule]["threshold"])) for rule in mine if rule in theirs]


def _calibrators(name: str, fitted: Mapping[str, object], other: Mapping[str, object]) -> _Maps:
    mine, theirs = _entries(fitted, name, "calibration"), _entries(other, name, "calibration")
    return [
        (each, Calibrator.from_dict(mine[each]), Calibrator.from_dict(theirs[each])) for each in mine if each in theirs
    ]


def _entries(fitted: Mapping[str, object], name: str, key: str) -> dict[str, dict]:
    finding = fitted.get(name)
    entries = finding.get(key) if isinstance(finding, Mapping) else None
    return dict(entries) if isinstance(entries, Mapping) else {}


def _call_differences(data: SplitData, pair: tuple[Finding, Finding], places: _Places) -> Statistic:
    sides = [
        call_counts(side.truth, side.scores, [place[1 + at] for place in places], side.patient, data.clusters.patients)
        for at, side in enumerate(pair)
    ]

    def statistic(weights: FloatArray) -> FloatArray:
        first, second = (side.tables(weights) for side in sides)
        return np.concatenate([second.metric(name) - first.metric(name) for name in THRESHOLD_METRICS]).T

    return statistic


def _calls(
    data: SplitData, pair: tuple[Finding, Finding], places: _Places, draws: FloatArray, whole: FloatArray
) -> list[_Compared]:
    tables = [
        call_counts(
            side.truth, side.scores, [place[1 + at] for place in places], side.patient, data.clusters.patients
        ).tables(whole)
        for at, side in enumerate(pair)
    ]
    found = []
    for at, metric in enumerate(THRESHOLD_METRICS):
        for place, (rule, _, _) in enumerate(places):
            first, second = (float(table.metric(metric)[place, 0]) for table in tables)
            if not np.isnan(first) and not np.isnan(second):
                column = draws[:, at * len(places) + place]
                found.append(_Compared(metric, pair[0].name, first, second, column, operating_point=rule))
    return found


def _brier_differences(data: SplitData, pair: tuple[Finding, Finding], maps: _Maps) -> Statistic:
    patients = data.clusters.patients
    losses = [_losses(pair, each) for each in maps]
    sums = np.stack(
        [
            np.bincount(pair[0].patient, weights=column, minlength=patients)
            for column in [np.ones(len(pair[0].truth)), *(second - first for first, second in losses)]
        ]
    )

    def statistic(weights: FloatArray) -> FloatArray:
        n, *squares = sums @ weights
        return np.stack(squares, axis=1) / np.where(n > 0, n, np.nan)[:, None]

    return statistic


def _losses(pair: tuple[Finding, Finding], each: tuple[str, Calibrator, Calibrator]) -> tuple[FloatArray, FloatArray]:
    first, second = (
        (map_.probabilities(side.scores) - side.truth) ** 2 for map_, side in zip(each[1:], pair, strict=True)
    )
    return first, second


def _briers(pair: tuple[Finding, Finding], maps: _Maps, draws: FloatArray) -> list[_Compared]:
    found = []
    for at, each in enumerate(maps):
        first, second = (float(loss.mean()) for loss in _losses(pair, each))
        found.append(_Compared("brier", pair[0].name, first, second, draws[:, at], calibration=each[0]))
    return found


def _macros(found: Sequence[_Compared], taking_part: set[str]) -> list[_Compared]:
    """Return the mean of each metric over the findings that take part, where there are several."""
    rows = []
    keys = dict.fromkeys((each.metric, each.operating_point, each.calibration) for each in found)
    for key in keys:
        mine = [
            each
            for each in found
            if (each.metric, each.operating_point, each.calibration) == key and each.label in taking_part
        ]
        if len(mine) > 1:
            rows.append(
                _Compared(
                    key[0],
                    "macro",
                    float(np.mean([each.first for each in mine])),
                    float(np.mean([each.second for each in mine])),
                    np.mean([each.draws for each in mine], axis=0),
                    operating_point=key[1],
                    calibration=key[2],
                )
            )
    return rows


def _row(data: SplitData, compared: _Compared) -> Metric:
    metric = f"{compared.metric}_difference"
    finding = next((each for each in data.findings if each.name == compared.label), None)
    base = data.average_row(data.averaged(), metric, "macro") if finding is None else data.row(finding, metric)
    row = replace(
        base,
        value=compared.second - compared.first,
        first=compared.first,
        second=compared.second,
        operating_point=compared.operating_point,
        calibration=compared.calibration,
        prevalence=None,
    )
    if compared.interval is not None:
        made = {"method": "delong_clustered", "interval": "wald"}
        return replace(row, low=compared.interval.low, high=compared.interval.high, p=compared.p, **made)
    if not len(compared.draws):
        return row
    interval = percentile_interval(compared.draws, level=row.level)
    return replace(
        row,
        low=interval.low,
        high=interval.high,
        method="patient_bootstrap",
        interval="percentile",
        resamples=interval.used,
        skipped=interval.skipped,
        p=None if interval.low is None else bootstrap_p(compared.draws),
        reason="few_resamples" if interval.low is None else row.reason,
    )


def _corrected(rows: Sequence[Metric]) -> list[Metric]:
    """Add the corrected p values: a family is one metric at one operating point or calibration, over findings."""
    out = list(rows)
    families: dict[tuple[str, str | None, str | None, bool], list[int]] = {}
    for at, row in enumerate(rows):
        key = (row.metric, row.operating_point, row.calibration, row.label == "macro")
        families.setdefault(key, []).append(at)
    for members in families.values():
        tests = sum(rows[at].p is not None for at in members)
        for at, value in zip(members, holm([rows[at].p for at in members]), strict=True):
            out[at] = replace(rows[at], p_corrected=value, tests=tests or None)
    return out


def _title(result: Result) -> str:
    return result.title or result.name

"""Two results on the same cases: differences with paired, patient-clustered intervals and corrected p values.

How a difference is made and tested: `paired`. Each metric's p values are corrected after Holm for the findings
compared; its macro average is one test of its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from medvlp.core.errors import DataError
from medvlp.core.provenance import hash_of
from medvlp.evaluation.metric_row import corrected, repeats, with_interval, with_paired_test
from medvlp.evaluation.paired import Difference, paired_differences
from medvlp.evaluation.predictions import check_policy, checked_findings
from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.rows import FITTED_SPLITS
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.split import SplitData, split_data
from medvlp.statistics.bootstrap import bootstrap_p, percentile_interval
from medvlp.statistics.few import TOO_FEW

_ROUNDING = 1e-9  # of two fits of one thing, which are iterated to 1e-10


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
    """Return the differences, second less first, of AUROC, AP, and on other rows what both fitted on validation.

    Args:
        first: a result with its cases.
        second: another one.
        split: whose cases; by default ``test``, else the one split that is not ``validate`` or ``train``.
        common: compare on the cases that both have; without it, differing cases are refused.
        resamples: of patients, for all that DeLong's test does not cover.
        level: of the intervals.
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
    mine, theirs = checked_findings(one), checked_findings(other)
    findings = [name for name in mine if name in theirs]
    if not findings:
        raise DataError("The results share no finding: there is nothing to compare.")
    options = ScoreOptions(
        seed=seed,
        resamples=resamples,
        level=level,
        policy=check_policy(policies.pop()),
        min_positives=max(
            [min_positives, *(row.counts.min_positives or 1 for row in (*first.metrics, *second.metrics))]
        ),
    )
    name = str(one["split"].iloc[0]) if "split" in one else ""
    side, opposite = (split_data(table, findings, name=name, options=options) for table in (one, other))
    fitted = [{} if name in FITTED_SPLITS else each.fitted for each in (first, second)]
    rows = [_row(side, each) for each in paired_differences(side, opposite, *fitted)]
    unpaired = [f"{count} cases" for count in left_out.values() if count] + sorted({*mine, *theirs} - {*findings})
    notes = [f"Of one result alone, and not compared: {', '.join(unpaired)}."] if unpaired else []
    return Result(
        name="comparison",
        title=f"{_title(second)} against {_title(first)}",
        synthetic=first.synthetic or second.synthetic,
        recipe=hash_of([first.recipe, second.recipe, options.to_dict()]),
        data=first.data if first.data == second.data else hash_of([first.data, second.data]),
        split=first.split if first.split == second.split else "",
        # Corrected together: tests of one metric at one operating point or calibration, over findings.
        metrics=tuple(
            corrected(rows, lambda row: (row.metric, row.operating_point, row.calibration, row.label == "macro"))
        ),
        caveats=tuple(dict.fromkeys((*first.caveats, *second.caveats, *notes))),
        options={
            "first": {"name": _title(first), "recipe": first.recipe, "data": first.data},
            "second": {"name": _title(second), "recipe": second.recipe, "data": second.data},
            "split": name,
            "resamples": resamples,
            "level": level,
            "seed": seed,
            "policy": options.policy,
            "min_positives": options.min_positives,
            "cases": len(one),
            "left_out": left_out,
        },
    )


def _cases(result: Result, split: str | None) -> pd.DataFrame:
    if result.cases is None:
        raise DataError(f"Result {result.name!r} has no per-case table: make it again and keep the table beside it.")
    if "id" not in result.cases or not any(str(column).startswith("score:") for column in result.cases):
        raise DataError(f"Result {result.name!r} has no scores case by case, which a comparison pairs: choose another.")
    if "split" not in result.cases:
        if split is not None:
            raise DataError(f"Result {result.name!r} names no splits, so it has no {split!r}: leave --split out.")
        return result.cases
    splits = result.cases["split"].astype(str)
    wanted = split
    if wanted is None:
        there = [each for each in splits.unique() if each not in FITTED_SPLITS]
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
    if not len(shared):
        raise DataError("The results share no case: score the same cases.")
    if any(left_out.values()) and not common:
        raise DataError(
            f"The results are of different cases: {left_out['first']} are only in the first and {left_out['second']} "
            f"only in the second; score the same cases, or compare the {len(shared)} cases that both have (--common)."
        )
    first, second = first.loc[shared].reset_index(drop=True), second.loc[shared].reset_index(drop=True)
    moved = int((first["patient_id"].astype(str) != second["patient_id"].astype(str)).sum())
    if moved:
        raise DataError(f"Other patient_id in {moved} of {len(first)} cases of the second result: score one list.")
    for column in (str(c) for c in first.columns if str(c).startswith("label:") and c in second):
        values = [pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64) for table in (first, second)]
        differ = int((~((values[0] == values[1]) | (np.isnan(values[0]) & np.isnan(values[1])))).sum())
        if differ:
            raise DataError(f"Other {column} in {differ} of {len(first)} cases of the second result: use the same.")
    return first, second, left_out


def _row(data: SplitData, found: Difference) -> Metric:
    metric, place = f"{found.place.metric}_difference", found.place
    over = [each for each in data.findings if each.name in found.findings]
    base = data.average_row(over, metric, "macro") if found.label == "macro" else data.row(over[0], metric)
    row = replace(
        base,
        value=found.second - found.first,
        operating_point=place.operating_point,
        calibration=place.calibration,
        test=replace(base.test, first=found.first, second=found.second),
        counts=replace(base.counts, prevalence=None),
    )
    if found.test is not None:
        return with_paired_test(row, found.test)
    if row.reason in TOO_FEW or not len(found.draws):
        return row
    draws = np.where(np.abs(found.draws) < _ROUNDING, 0.0, found.draws)
    if repeats(draws, within=_ROUNDING) and np.nanmin(np.abs(draws)) > 0:  # as DeLong's test without a variance
        return replace(row, reason="no_spread")
    interval = percentile_interval(found.draws, level=row.interval.level)
    row = with_interval(row, interval, method="patient_bootstrap", form="percentile")
    return replace(row, test=replace(row.test, p=None if interval.low is None else bootstrap_p(draws)))


def _title(result: Result) -> str:
    return result.title or result.name

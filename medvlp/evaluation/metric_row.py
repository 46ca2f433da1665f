"""Rows filled in: a number with its interval from draws, from a share, or as it was made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from medvlp.core.grouped import grouped
from medvlp.evaluation.results import Counts, Metric
from medvlp.statistics.bootstrap import Clusters, Interval, bootstrap, patient_clusters, percentile_interval
from medvlp.statistics.delong import PairedTest
from medvlp.statistics.few import FEW_PATIENTS, LEAST_PATIENTS, TOO_FEW
from medvlp.statistics.holm import holm
from medvlp.statistics.intervals import Form, bca_interval, logit_interval, recentred_interval
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.proportions import Share

# How intervals of shares are made, of any number of patients.
_OF_SHARES = ("wilson", "wilson_clustered", "mercaldo")
_ROUNDED = 1e-12  # by so much a mean of ones may miss 1

# `drawn_rows` of some patients: rows, statistic, `height` -> rows
Draw = partial[list[Metric]]


def without_interval(row: Metric) -> Metric:
    """Return a row without an interval, with the reason."""
    return replace(row, interval=replace(row.interval, method="none", form="none"))


def with_interval(row: Metric, found: Interval, *, method: str, form: str) -> Metric:
    """Return a row with an interval and how it was made.

    A row of too few patients of a class stays without one, unless it is of a share: Wilson's and Mercaldo's hold there.
    So does one whose draws are one number, which is no sign of how sure it is, but for median ranks and differences.
    """
    made = found.used + found.skipped
    reason = row.reason
    if reason in TOO_FEW:
        if method not in _OF_SHARES:
            return row
        reason = reason.removeprefix("too_")
    if made and found.low is None:
        reason = "few_resamples"
    ends = np.array([found.low, found.high], dtype=np.float64)
    if made and repeats(ends) and not row.metric.endswith(("median_rank", "_difference")):
        return without_interval(replace(row, reason="no_spread"))
    interval = replace(row.interval, low=found.low, high=found.high, method=method, form=form)
    if made:
        interval = replace(interval, resamples=found.used, skipped=found.skipped)
    return replace(row, reason=reason, interval=interval)


def is_separated(value: float, draws: FloatArray, *, ends: Sequence[float] = (0.0, 1.0)) -> bool:
    """Return whether a value stands at an end of its range and every draw does: no sign of how sure it is.

    Example:
        >>> is_separated(1.0, np.array([1.0, 1.0])), is_separated(1.0, np.array([0.9, 1.0]))
        (True, False)
    """
    return any(abs(value - end) < _ROUNDED for end in ends) and repeats(draws)


def repeats(draws: FloatArray, *, within: float = _ROUNDED) -> bool:
    """Return whether all draws that are defined are one number, but for so much.

    Example:
        >>> repeats(np.array([0.5, np.nan, 0.5])), repeats(np.array([0.5, 0.6]))
        (True, False)
    """
    drawn = draws[~np.isnan(draws)]
    return len(drawn) > 0 and float(np.ptp(drawn)) < within


def separated(row: Metric) -> Metric:
    """Return a row whose draws have no spread without an interval; that is why, unless its patients are too few."""
    return without_interval(row if row.reason in TOO_FEW else replace(row, reason="separated"))


def with_draws(
    row: Metric,
    draws: FloatArray,
    *,
    form: Form,
    patients: int,
    signed: bool = False,
    acceleration: float | None = None,
    method: str = "patient_bootstrap",
) -> Metric:
    """Return a row whose value lies in [0, 1] with its interval from bootstrap draws; unchanged without draws.

    At an end of the range an interval of draws without spread would have no width: there is none (`is_separated`).

    Args:
        row: with a value.
        draws: ``(resamples,)``.
        form: asked for.
        patients: in the smaller class, of an average the sum over its findings.
        signed: the value lies in [-1, 1]: the logit of (1 + value) / 2 is twice Fisher's z.
        acceleration: for ``"bca"``, which without one is the percentile interval here.
        method: how the draws were made.
    """
    assert row.value is not None, "the caller has set it"
    if not len(draws):
        return row
    low, width = (-1.0, 2.0) if signed else (0.0, 1.0)
    if is_separated(row.value, draws, ends=(low, 1.0)):
        return separated(row)
    level = row.interval.level
    if form == "bca" and acceleration is not None:
        found = bca_interval(draws, value=row.value, acceleration=acceleration, level=level)
    elif form == "logit":
        unit, value = (draws - low) / width, (row.value - low) / width
        found = logit_interval(unit, value=value, level=level, patients=patients)
        if signed and found.low is not None and found.high is not None:
            found = replace(found, low=low + width * found.low, high=low + width * found.high)
    else:
        form, found = "percentile", percentile_interval(draws, level=level)
    return with_interval(row, found, method=method, form=form)


def with_test(row: Metric, p: float | None, found: Interval, *, form: str) -> Metric:
    """Return a row of a difference of two AUROCs with DeLong's interval and test; without both of too few patients."""
    if row.reason in TOO_FEW:
        return row
    if p is None:
        return replace(row, reason="separated")
    return with_interval(replace(row, test=replace(row.test, p=p)), found, method="delong_clustered", form=form)


def with_paired_test(row: Metric, found: PairedTest) -> Metric:
    """Return a row as `with_test`, of a paired test."""
    return with_test(row, found.p, Interval(found.low, found.high, 0, 0), form="wald")


def metric_row(row: Metric, value: float | None, draws: FloatArray | None, *, recentred: bool = False) -> Metric:
    """Return a row with its value and the percentile interval of its draws, or the recentred one.

    There is none where all draws are the same, and of fewer than `LEAST_PATIENTS` patients or too few of a class; that
    of at most `FEW_PATIENTS` says that it is optimistic.

    Args:
        row: with all that is known without a number; its `level` is that of the interval.
        value: NaN or None where it is not defined.
        draws: ``(resamples,)`` of the patient bootstrap, NaN where it is not defined; None or empty for no interval.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> row = Metric(metric="dice", label="lung", value=None, counts=Counts(n=31, patients=31))
        >>> row = metric_row(row, 0.5, np.arange(101.0))
        >>> row.value, row.interval.high, row.interval.method, row.interval.resamples
        (0.5, 97.5, 'patient_bootstrap', 101)
        >>> metric_row(row, 1.0, np.ones(101)).reason
        'no_spread'
    """
    row = replace(row, value=None if value is None or np.isnan(value) else float(value))
    if row.value is None:
        return without_interval(replace(row, reason=row.reason or "no_rows"))
    if draws is None or not len(draws):
        return without_interval(row)
    if row.reason in TOO_FEW:
        return without_interval(row)
    if row.metric != "median_rank" and repeats(draws):  # which may well be the same in all of them
        return without_interval(replace(row, reason="no_spread"))
    if row.counts.patients < LEAST_PATIENTS:
        return without_interval(replace(row, reason="too_few_patients"))
    made = partial(recentred_interval, value=row.value) if recentred else percentile_interval
    if row.counts.patients <= FEW_PATIENTS:
        row = replace(row, reason=row.reason or "few_patients")
    form = "recentred" if recentred else "percentile"
    return with_interval(row, made(draws, level=row.interval.level), method="patient_bootstrap", form=form)


def with_share(row: Metric, share: Share) -> Metric:
    """Return a row with a share and its Wilson interval, that of clusters where patients have several rows."""
    method = "wilson_clustered" if share.clustered else "wilson"
    found = share.wilson(level=row.interval.level)
    if share.value is None:
        row = replace(row, reason=row.reason or "no_rows")
    return with_interval(replace(row, value=share.value), found, method=method, form="score")


def share_limits(share: Share, *, level: float = 0.95) -> tuple[float, float, float]:
    """Return a share of cases that there are, and the ends of its interval."""
    assert share.value is not None, "there are cases"
    return share.value, *share.wilson(level=level).ends


def share_row(row: Metric, share: Share) -> Metric:
    """Return a row with a share as `with_share`, and its counts.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> row = Metric(metric="flagged", label="gate", value=None, counts=Counts(n=0, patients=0))
        >>> made = share_row(row, Share(0.5, n=4, patients=4, effective=4.0))
        >>> made.counts.n, made.interval.method, round(made.interval.low, 2)
        (4, 'wilson', 0.15)
    """
    return with_share(replace(row, counts=replace(row.counts, n=share.n, patients=share.patients)), share)


def drawn_rows(
    rows: Sequence[Metric],
    statistic: Callable[[FloatArray], FloatArray],
    clusters: Clusters,
    *,
    seed: int,
    resamples: int,
    height: int,
    recentred: bool = False,
) -> list[Metric]:
    """Return rows with the K numbers of a statistic and their percentile intervals, or the recentred ones.

    Args:
        rows: K, without numbers.
        statistic: patient weights ``(P, B)`` -> ``(B, K)``, NaN where it is not defined.
        clusters: the patients.
        resamples: 0 for no intervals.
        height: the largest first axis that the statistic makes inside.
    """
    point = statistic(np.ones((clusters.patients, 1)))[0]
    draws = bootstrap(statistic, clusters, resamples=resamples, seed=seed, height=height) if resamples else None
    each = [None if draws is None else draws[:, at] for at in range(len(rows))]
    return [metric_row(row, point[at], each[at], recentred=recentred) for at, row in enumerate(rows)]


def mean_metric(
    metric: str, label: str, values: FloatArray, patients: Sequence[str], *, seed: int, resamples: int, split: str = ""
) -> Metric:
    """Return the mean over cases, or over labels of their means over cases, with its interval over patients.

    Args:
        metric: name of the number.
        label: of what.
        values: ``(n,)``, or ``(n, K)`` of K labels; NaN where a case says nothing. A resample leaves out labels without
            a case in it.
        patients: ``(n,)``.
        resamples: over patients; 0 for no interval.
        split: written into the row.

    Example:
        >>> row = mean_metric("dice", "lung", np.array([0.5, 1.0, np.nan]), ["a", "b", "c"], seed=0, resamples=0)
        >>> row.value, row.counts.n
        (0.75, 2)
        >>> wide = np.array([[1.0, np.nan], [0.0, 0.9]])
        >>> mean_metric("dice", "macro", wide, ["a", "b"], seed=0, resamples=0).value
        0.7
    """
    table = np.asarray(values, float)
    labels_used = int(np.isfinite(table).any(axis=0).sum()) if table.ndim == 2 else None
    table = table.reshape(len(table), -1)
    there = np.flatnonzero(np.isfinite(table).any(axis=1))
    table, who = table[there], [str(patients[row]) for row in there.tolist()]
    row = Metric(metric=metric, label=label, value=None, split=split, policy="none", counts=Counts(n=0, patients=0))
    if not len(table):
        return metric_row(replace(row, reason="no_rows"), None, None)
    clusters = patient_clusters(np.asarray(who))
    known = np.isfinite(table)
    filled = np.where(known, table, 0.0)

    def statistic(weights: FloatArray) -> FloatArray:
        row = weights[clusters.patient]  # (n, B)
        total = known.T.astype(float) @ row
        each = np.where(total > 0, filled.T @ row / np.where(total > 0, total, 1.0), np.nan)  # (K, B)
        count = (total > 0).sum(axis=0)
        return np.where(count > 0, np.nansum(each, axis=0) / np.maximum(count, 1), np.nan)[:, None]

    counts = Counts(n=len(table), patients=clusters.patients, labels_used=labels_used)
    row = replace(row, counts=counts)
    return drawn_rows([row], statistic, clusters, seed=seed, resamples=resamples, height=len(table))[0]


def corrected(rows: Sequence[Metric], family: Callable[[Metric], Hashable | None]) -> list[Metric]:
    """Return rows with p values corrected after Holm for all tests of their family.

    Args:
        rows: with single p values, or none.
        family: that a row belongs to; None for a row that stays as it is.
    """
    families = grouped((family(row), at) for at, row in enumerate(rows))
    families.pop(None, None)
    out = list(rows)
    for members in families.values():
        tests = sum(rows[at].test.p is not None for at in members)
        for at, value in zip(members, holm([rows[at].test.p for at in members]), strict=True):
            made = replace(rows[at].test, p_corrected=value, tests=None if value is None else tests)
            out[at] = replace(rows[at], test=made)
    return out

"""Rows of results of probabilities: Brier score, log loss, calibration errors, calibration line, net benefit.

A calibration row names the map that made its probabilities; ``"none"`` means that the scores were taken for them.
Calibration errors are above 0 by chance alone, the smooth one visibly so with hundreds of rows: its `chance` says what
a calibrated model of the same rows is expected to have, and an interval reaches down to 0 where that could be all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csc_array

from medvlp.core.errors import DataError
from medvlp.core.randomness import numpy_generator
from medvlp.evaluation.metric_row import with_draws, with_interval
from medvlp.evaluation.results import Metric
from medvlp.evaluation.scoring.fitted import FittedFinding
from medvlp.evaluation.scoring.split import Finding, SplitData, Statistic, average_weights
from medvlp.statistics.bootstrap import Interval, percentile_interval
from medvlp.statistics.calibration.errors import (
    equal_mass_bins,
    expected_calibration_error,
    smooth_calibration_error,
    smooth_errors,
    smoothing_grid,
)
from medvlp.statistics.calibration.fit import scale_of
from medvlp.statistics.calibration.line import calibration_line
from medvlp.statistics.confusion import call_counts
from medvlp.statistics.decision_curve import net_benefit
from medvlp.statistics.few import TOO_FEW
from medvlp.statistics.intervals import recentred_interval
from medvlp.statistics.metrics import FloatArray, UndefinedMetricError
from medvlp.statistics.probability_metrics import brier_parts, log_losses

# The cells of the smooth error's draws; its value has more.
_CELLS = 512
_AVERAGED = ("brier", "log_loss", "ece", "smooth_ece")
_OF_CALIBRATION = ("ece", "smooth_ece")
# Draws of what chance alone makes of the calibration errors.
_FLIPS = 400


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Probabilities of a finding's rows, and the name of the map that made them."""

    finding: Finding
    name: str
    values: FloatArray


@dataclass(frozen=True, slots=True)
class _Errors:
    """The four averaged numbers of one set of probabilities, with draws; NaN where not defined.

    `plain` holds the calibration errors without correction, `chance` draws of what a calibrated model has of them.
    """

    value: dict[str, float]
    draws: dict[str, FloatArray]
    plain: dict[str, float]
    chance: dict[str, FloatArray]


@dataclass(frozen=True, slots=True)
class _Masses:
    """By patient: rows, squared errors, log losses ``(3, P)``; residuals in bins and in cells of the smooth error."""

    sums: FloatArray
    bins: csc_array
    cells: csc_array

    def errors(self, weights: FloatArray, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return binned and smooth error under patient weights ``(P, B)``, of so many rows."""
        binned = np.abs(np.asarray(self.bins @ weights)).sum(axis=0) / rows
        return binned, smooth_errors((np.asarray(self.cells @ weights) / rows).astype(np.float32), steps=9)

    def statistic(self, weights: FloatArray) -> FloatArray:
        """Return the four numbers of resamples ``(B, 4)``, NaN without rows."""
        n, squares, losses = self.sums @ weights
        safe = np.where(n > 0, n, np.nan)
        binned, smooth = self.errors(weights, np.where(n > 0, n, 1.0))
        empty = np.where(n > 0, 0.0, np.nan)
        return np.stack([squares / safe, losses / safe, binned + empty, smooth + empty], axis=1)


def calibrated(data: SplitData, fitted: Mapping[str, FittedFinding] | None) -> list[Calibrated]:
    """Return all probabilities of all findings: the scores themselves where they may be, then each map's.

    Args:
        data: the split.
        fitted: choices by finding; None without validation rows.

    Raises:
        DataError: if a score is outside [0, 1] where scores were said to be probabilities, or where a map was fitted
            on scores within.
    """
    found = []
    for finding in data.findings:
        if finding.reason is not None:
            continue
        probable = scale_of(finding.scores) == "probability"
        if data.options.probabilities and not probable:
            outside = finding.scores[(finding.scores < 0) | (finding.scores > 1)]
            raise DataError(
                f"score:{finding.name} was said to hold probabilities and lies outside [0, 1] in {len(outside)} of "
                f"{len(finding.scores)} rows, the first is {outside[0]:g}: they are scores, leave --probabilities out."
            )
        chosen = fitted[finding.name] if fitted is not None else None
        maps = () if chosen is None else chosen.calibrators
        if probable and (data.options.probabilities or any(each.scale == "probability" for each in maps)):
            found.append(Calibrated(finding, "none", finding.scores))
        for each in maps:
            try:
                found.append(Calibrated(finding, each.name, each.probabilities(finding.scores)))
            except DataError as error:
                raise DataError(f"score:{finding.name}, split {data.name!r}: {error}") from None
    return found


def probability_rows(data: SplitData, probabilities: Sequence[Calibrated]) -> list[Metric]:
    """Return the rows of every set of probabilities, and the averages over findings of each map."""
    rows: list[Metric] = []
    masses = [_masses(data, each) for each in probabilities]
    draws = data.draws([each.statistic for each in masses], height=_CELLS)
    errors = {
        (each.name, each.finding.name): _errors(data, each, mass, drawn)
        for each, mass, drawn in zip(probabilities, masses, draws, strict=True)
    }
    for each in probabilities:
        rows += [replace(row, calibration=each.name) for row in _rows(data, each, errors[each.name, each.finding.name])]
    taking_part = {finding.name for finding in data.averaged()}
    for name in dict.fromkeys(each.name for each in probabilities):
        members = [each for each in probabilities if each.name == name and each.finding.name in taking_part]
        rows += [replace(row, calibration=name) for row in _averages(data, members, errors)]
    return rows


def chosen_for_decisions(probabilities: Sequence[Calibrated], finding: str, *, released: str) -> Calibrated | None:
    """Return the probabilities on which decisions are judged: the released map's, else another's, else the scores.

    Args:
        probabilities: of all findings.
        finding: its name.
        released: see `ScoreOptions.released`.
    """
    mine = [each for each in probabilities if each.finding.name == finding]
    order = {name: at for at, name in enumerate(("platt", "dirichlet", "temperature", "isotonic", "none"))}
    return min(mine, key=lambda each: -1 if each.name == released else order[each.name], default=None)


def decision_rows(data: SplitData, probabilities: Sequence[Calibrated]) -> list[Metric]:
    """Return the net benefit at the threshold probabilities asked for; `chance` is the better of all and nobody."""
    rows = []
    places = np.array(data.options.decisions)
    released = data.options.released
    named = (chosen_for_decisions(probabilities, each.name, released=released) for each in data.findings)
    chosen = [each for each in named if each is not None]
    statistics = [_net_benefits(data, each, places) for each in chosen] if len(places) else []
    for each, statistic, draws in zip(chosen, statistics, data.draws(statistics), strict=bool(len(places))):
        value = statistic(np.ones((data.clusters.patients, 1)))[0]
        prevalence = each.finding.positives / len(each.finding.truth)
        for at, place in enumerate(places):
            everybody = prevalence - (1 - prevalence) * place / (1 - place)
            row = replace(
                data.row(each.finding, f"net_benefit@{place:g}"),
                value=float(value[at]),
                threshold=float(place),
                calibration=each.name,
                chance=max(0.0, float(everybody)),
            )
            rows.append(_drawn(row, percentile_interval(draws[:, at], level=row.interval.level), len(draws)))
    return rows


def _net_benefits(data: SplitData, each: Calibrated, places: FloatArray) -> Statistic:
    finding = each.finding
    counts = call_counts(finding.truth, each.values, places, finding.patient, data.clusters.patients)
    return lambda weights: net_benefit(counts.tables(weights), places).T


def _rows(data: SplitData, each: Calibrated, errors: _Errors) -> list[Metric]:
    finding = each.finding
    rows = []
    for metric in _AVERAGED:
        row, value = data.row(finding, metric), errors.value[metric]
        if not np.isfinite(value):
            rows.append(replace(row, reason="infinite"))
            continue
        rows.append(
            _with_its_interval(
                data,
                replace(row, value=value),
                errors.draws[metric],
                _of_calibration(metric, [errors], [1.0]),
                finding.smaller,
            )
        )
    parts = brier_parts(finding.truth, each.values)
    for metric, value in (
        ("brier_miscalibration", parts.miscalibration),
        ("brier_discrimination", parts.discrimination),
        ("brier_uncertainty", parts.uncertainty),
    ):
        rows.append(replace(data.row(finding, metric), value=value))
    slope, intercept = data.row(finding, "calibration_slope"), data.row(finding, "calibration_intercept")
    try:
        line = calibration_line(finding.truth, each.values, finding.patient, level=data.options.level)
    except UndefinedMetricError as error:
        return [*rows, replace(slope, reason=error.reason), replace(intercept, reason=error.reason)]
    slope, intercept = (
        replace(slope, value=line.slope, test=replace(slope.test, p=line.p)),
        replace(intercept, value=line.intercept),
    )
    for row, found in ((slope, line.slope_interval), (intercept, line.intercept_interval)):
        if found.low is None:
            rows.append(replace(row, reason=row.reason if row.reason in TOO_FEW else "no_spread"))
        else:
            rows.append(with_interval(row, found, method="sandwich", form="wald"))
    return rows


def _masses(data: SplitData, each: Calibrated) -> _Masses:
    """Return what the four numbers are sums of; the bins stay those of all rows."""
    finding, values, patients = each.finding, each.values, data.clusters.patients
    residual = finding.truth - values
    logs = log_losses(finding.truth, values)
    columns = (np.ones(len(values)), residual**2, logs if np.isfinite(logs).all() else np.zeros(len(values)))
    sums = np.stack([np.bincount(finding.patient, weights=column, minlength=patients) for column in columns])
    sums = sums.astype(np.float64, copy=False)
    place = equal_mass_bins(values, data.options.bins)
    bins = csc_array((residual, (place, finding.patient)), shape=(int(place.max()) + 1, patients))
    cell, share = smoothing_grid(values, _CELLS)
    ends = (np.concatenate([cell, np.minimum(cell + 1, _CELLS - 1)]), np.tile(finding.patient, 2))
    shares = np.concatenate([residual * (1 - share), residual * share])
    return _Masses(sums, bins, csc_array((shares, ends), shape=(_CELLS, patients)))


def _errors(data: SplitData, each: Calibrated, masses: _Masses, draws: FloatArray) -> _Errors:
    truth, values, patient = each.finding.truth, each.values, each.finding.patient
    value = {
        "brier": float(np.mean((truth - values) ** 2)),
        "log_loss": float(np.mean(log_losses(truth, values))),
        "ece": expected_calibration_error(truth, values, patient, bins=data.options.bins),
        "smooth_ece": smooth_calibration_error(truth, values),
    }
    # A calibrated model's residuals are as likely the one way as the other, all of a patient's together.
    signs = numpy_generator(data.options.seed, 0, "patient_signs").choice([-1.0, 1.0], (data.clusters.patients, _FLIPS))
    plain, flipped = (masses.errors(weights, masses.sums[0].sum()) for weights in (np.ones((len(signs), 1)), signs))
    return _Errors(
        value,
        {metric: draws[:, at] for at, metric in enumerate(_AVERAGED)},
        {metric: float(plain[at][0]) for at, metric in enumerate(_OF_CALIBRATION)},
        {metric: flipped[at] for at, metric in enumerate(_OF_CALIBRATION)},
    )


def _averages(
    data: SplitData, members: Sequence[Calibrated], errors: Mapping[tuple[str, str], _Errors]
) -> list[Metric]:
    rows = []
    for metric in _AVERAGED:
        defined = [each for each in members if np.isfinite(errors[each.name, each.finding.name].value[metric])]
        findings = [each.finding for each in defined]
        row = data.average_row(findings, metric, "macro")
        if len(defined) < len(members):
            rows.append(
                replace(data.average_row([each.finding for each in members], metric, "macro"), reason="infinite")
            )
            continue
        if defined:
            mine = [errors[each.name, each.finding.name] for each in defined]
            weights = average_weights(findings, "macro")
            value = float(weights @ np.array([each.value[metric] for each in mine]))
            draws = np.tensordot(weights, np.stack([each.draws[metric] for each in mine]), axes=1)
            patients = sum(each.smaller for each in findings)
            row = _with_its_interval(
                data, replace(row, value=value), draws, _of_calibration(metric, mine, weights), patients
            )
        rows.append(row)
    return rows


def _of_calibration(
    metric: str, errors: Sequence[_Errors], weights: Sequence[float] | FloatArray
) -> tuple[float, FloatArray] | None:
    """Return a calibration error without correction and its draws by chance, averaged over findings; None of others."""
    if metric not in _OF_CALIBRATION:
        return None
    share = np.asarray(weights, dtype=np.float64)
    chance = np.tensordot(share, np.stack([each.chance[metric] for each in errors]), axes=1)
    return float(share @ np.array([each.plain[metric] for each in errors])), chance


def _with_its_interval(
    data: SplitData, row: Metric, draws: FloatArray, against: tuple[float, FloatArray] | None, patients: int
) -> Metric:
    """Return the row with its interval; that of a calibration error reaches 0 where chance alone could have made it."""
    if row.metric == "brier":
        return with_draws(row, draws, form=data.options.interval, patients=patients)
    if against is None:
        return _drawn(row, percentile_interval(draws, level=row.interval.level), len(draws))
    assert row.value is not None, "the caller has set it"
    plain, chance = against
    found = recentred_interval(draws, value=row.value, level=row.interval.level)
    if row.metric == "smooth_ece":
        row = replace(row, chance=float(chance.mean()))
    if found.low is not None and plain <= np.quantile(chance, (1 + row.interval.level) / 2):
        found = replace(found, low=0.0)
    return _drawn(row, found, len(draws), form="recentred")


def _drawn(row: Metric, found: Interval, resamples: int, *, form: str = "percentile") -> Metric:
    return with_interval(row, found, method="patient_bootstrap", form=form) if resamples else row

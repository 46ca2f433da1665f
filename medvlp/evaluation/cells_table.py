"""A table of methods: mean over seeds, how far seeds and how far patients move it, paired difference to one row.

Two uncertainties, never mixed. *Over seeds*: training again with other seeds; Student's t interval of the mean of the
seeds' values. *Over patients*: other test patients, these trained models; all cells see the same resampled patients,
the seeds' values are averaged in each resample, and the interval is the percentile one. A p value is of patients:
``2 min(P(d* <= 0), P(d* >= 0))`` of the resampled differences, each tail with one added to hits and draws, corrected
over all comparisons of the table after Holm (1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.progress import progress
from medvlp.evaluation.cells import CellFacts, Difference, Limits, Measure, Reading, RunFacts, Table, TableRow
from medvlp.evaluation.metric_row import repeats
from medvlp.evaluation.redraw import Redrawn, redraw
from medvlp.evaluation.results import Metric, load_result
from medvlp.evaluation.rows import asked_row
from medvlp.statistics.bootstrap import bootstrap, bootstrap_p, percentile_interval
from medvlp.statistics.holm import holm
from medvlp.statistics.metrics import FloatArray

_FEWEST = 6  # patients: below that resamples repeat each other and an interval means nothing
_ROUNDING = 1e-9  # of a difference of two that are equal
_ENOUGH = 100  # resamples a comparison, so that the smallest p stays under 0.05 when it is corrected


@dataclass(frozen=True, slots=True)
class _Value:
    """A number of one run."""

    row: Metric
    redrawn: Redrawn | None


def make_table(
    cells: Sequence[CellFacts],
    measures: Sequence[Measure],
    *,
    title: str,
    reference: str | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Table:
    """Read the results of all finished runs and lay out the table.

    Args:
        cells: rows, with where their results lie.
        measures: columns.
        title: of the table.
        reference: name of the cell that the others are compared with.
        level: of all intervals.
        resamples: of the patient bootstrap; at least 100 for each comparison that finished runs allow are drawn.

    Raises:
        ConfigError: if no finished run measures what is asked for, with the nearest name.
        DataError: if a results file is missing or damaged.
    """
    seen = _Seen()
    found = {measure: [seen.read_all(cell.runs, measure) for cell in cells] for measure in measures}
    for measure, values in found.items():
        if not any(values) and any(run.state == "finished" for cell in cells for run in cell.runs):
            raise ConfigError(f"No run measures {measure.name}: {seen.others(measure)}")
        over = sorted({value.row.counts.labels_used or 0 for own in values for value in own.values()})
        if len(over) > 1:  # a model is asked for no finding that no training text names
            seen.caveats.append(f"{measure.name} is over {over[0]} to {over[-1]} findings, not the same in all runs.")
    at = next((i for i, cell in enumerate(cells) if cell.name == reference), None)
    if at is not None:
        resamples = max(resamples, _ENOUGH * sum(_paired(values, at) for values in found.values()))
    columns = []
    with progress("Table", unit="numbers") as tell:
        for measure, values in found.items():
            tell(len(columns), len(found), f"{measure.name}, {resamples:,} resamples")
            columns.append(_column(values, at=at, level=level, resamples=resamples, seed=seed))
    columns, comparisons = _corrected(columns)
    rows = tuple(
        TableRow(**vars(cell), readings=tuple(column[at] for column in columns)) for at, cell in enumerate(cells)
    )
    return Table(
        title=title,
        measures=tuple(measures),
        rows=rows,
        reference=reference,
        level=level,
        resamples=resamples,
        comparisons=comparisons,
        synthetic=seen.synthetic,
        caveats=(*_caveats(cells), *seen.caveats),
    )


def over_seeds(values: Sequence[float], *, level: float = 0.95) -> Limits:
    """Return ``mean -+ t sd / sqrt(k)`` with k - 1 degrees of freedom; nothing below two values, or of equal ones.

    Example:
        >>> found = over_seeds([0.80, 0.82, 0.84])
        >>> round(found.low, 4), round(found.high, 4)
        (0.7703, 0.8697)
    """
    if len(values) < 2:
        return Limits(method="student_t_over_seeds", reason="one_seed" if values else "no_value")
    if np.ptp(values) < _ROUNDING:
        return Limits(method="student_t_over_seeds", reason="no_spread")
    count, mean, sd = len(values), float(np.mean(values)), float(np.std(values, ddof=1))
    reach = float(student.ppf((1 + level) / 2, count - 1)) * sd / math.sqrt(count)
    return Limits(low=mean - reach, high=mean + reach, method="student_t_over_seeds")


def not_measured(run: RunFacts, measures: Sequence[Measure]) -> list[str]:
    """Return what a finished run does not measure, with the nearest names: if no run does, there is no table."""
    seen = _Seen()
    return [f"{each.name}: {seen.others(each)}" for each in measures if not seen.read_all([run], each)]


class _Seen:
    """Reads results, and gathers what they say of themselves."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.caveats: list[str] = []
        self.synthetic = False

    def others(self, measure: Measure) -> str:
        """Say what to report in the place of a number that nobody measures; nothing is run again for it."""
        return f"report another number, finished runs are kept: {did_you_mean(measure.name, self.names)}."

    def read_all(self, runs: Sequence[RunFacts], measure: Measure) -> dict[int, _Value]:
        """Return the number of every finished run that has it, by seed."""
        finished = [run for run in runs if run.state == "finished"]
        values = {run.seed: self.read(run.results[measure.split] / "results", measure) for run in finished}
        return {seed: value for seed, value in values.items() if value is not None}

    def read(self, folder: Path, measure: Measure) -> _Value | None:
        """Return the number that results have; None where they have none, and `names` then holds what there is."""
        path = folder / f"{measure.result}.json"
        if not path.is_file():
            for other in folder.glob("*.json"):
                if other.stem != "gallery":
                    self._note(other.stem, load_result(other, cases=False).metrics, measure)
            return None
        result = load_result(path)
        self.synthetic |= result.synthetic
        self.caveats += [caveat for caveat in result.caveats if caveat not in self.caveats]
        found = asked_row(result, measure, measure.split)
        if found is None:
            rows = [row for row in result.metrics if row.split in ("", measure.split)]
            self._note(measure.result, rows, measure)
            return None
        return _Value(found, redraw(result, found))

    def _note(self, result: str, rows: Sequence[Metric], like: Measure) -> None:
        for row in rows:
            there = {"result": result, "metric": row.metric, "label": row.label, "group": row.group}
            self.names.add(like.model_copy(update=there).name)


def _paired(found: Sequence[Mapping[int, _Value]], at: int) -> int:
    """Count the cells whose patients can be paired with those of the reference `at`."""
    redrawn = [{seed: value.redrawn is not None for seed, value in values.items()} for values in found]
    both = [[own[seed] and redrawn[at][seed] for seed in own if seed in redrawn[at]] for own in redrawn]
    return sum(i != at and bool(pairs) and all(pairs) for i, pairs in enumerate(both))


def _column(
    found: Sequence[Mapping[int, _Value]], *, at: int | None, level: float, resamples: int, seed: int
) -> list[Reading]:
    """Read one measure of every cell; `at` is the reference's place."""
    draws = _draws(found, resamples=resamples, seed=seed)
    readings = [
        _reading(values, {seed: draws.get((i, seed)) for seed in values}, level) for i, values in enumerate(found)
    ]
    if at is None:
        return readings
    return [
        reading if i == at else replace(reading, difference=_difference(readings, found, draws, i, at, level))
        for i, reading in enumerate(readings)
    ]


def _reading(values: Mapping[int, _Value], draws: Mapping[int, FloatArray | None], level: float) -> Reading:
    numbers = {seed: value.row.value for seed, value in values.items() if value.row.value is not None}
    row = next((value.row for value in values.values()), None)
    reasons = [value.row.reason for value in values.values() if value.row.reason]
    few = _few([values[seed].redrawn for seed in numbers])
    return Reading(
        values=numbers,
        mean=float(np.mean(list(numbers.values()))) if numbers else None,
        sd=float(np.std(list(numbers.values()), ddof=1)) if len(numbers) > 1 else None,
        over_seeds=over_seeds(list(numbers.values()), level=level),
        over_patients=_over_patients([draws[seed] for seed in numbers], few=few, level=level),
        n=row.counts.n if row else None,
        positives=row.counts.positives if row else None,
        patients=row.counts.patients if row else None,
        difference=None,
        reason=next(iter(reasons), "" if numbers else "no_value" if values else "no_run"),
    )


def _draws(found: Sequence[Mapping[int, _Value]], *, resamples: int, seed: int) -> dict[tuple[int, int], FloatArray]:
    """Return the resampled values of each (cell, seed); those of the same cases come from the same resamples."""
    alike: dict[str, list[tuple[tuple[int, int], Redrawn]]] = {}
    for i, values in enumerate(found):
        for s, value in values.items():
            if value.redrawn is not None:
                alike.setdefault(value.redrawn.cases, []).append(((i, s), value.redrawn))
    draws: dict[tuple[int, int], FloatArray] = {}
    for members in alike.values():
        clusters = members[0][1].clusters

        def statistic(weights: FloatArray, members: list[tuple[tuple[int, int], Redrawn]] = members) -> FloatArray:
            return np.stack([redrawn.draw(weights) for _, redrawn in members], axis=1)

        table = bootstrap(statistic, clusters, resamples=resamples, seed=seed, height=len(clusters.patient))
        draws |= {key: table[:, place] for place, (key, _) in enumerate(members)}
    return draws


def _few(redrawn: Sequence[Redrawn | None]) -> bool:
    return any(each is not None and each.fewest < _FEWEST for each in redrawn)


def _over_patients(draws: Sequence[FloatArray | None], *, few: bool, level: float, paired: bool = False) -> Limits:
    there = [each for each in draws if each is not None]
    if few or not draws or len(there) < len(draws):
        return _no_patients("few_patients" if few else "not_recomputed" if draws else "no_value")
    mean = np.mean(there, axis=0)
    interval = percentile_interval(mean, level=level)
    if interval.low is None:
        return _no_patients("few_resamples")
    # As in a comparison: of two that are always equal the difference is 0 for sure.
    if repeats(mean) and not (paired and abs(interval.low) < _ROUNDING):
        return _no_patients("no_spread")
    return Limits(low=interval.low, high=interval.high, method="patient_bootstrap_percentile")


def _no_patients(reason: str) -> Limits:
    return Limits(method="patient_bootstrap_percentile", reason=reason)


def _difference(
    readings: Sequence[Reading],
    found: Sequence[Mapping[int, _Value]],
    draws: Mapping[tuple[int, int], FloatArray],
    i: int,
    at: int,
    level: float,
) -> Difference | None:
    """Return cell `i` less the reference `at`, over the seeds that both have."""
    both = tuple(seed for seed in readings[i].values if seed in readings[at].values)
    if not both:
        return None
    own = [readings[i].values[seed] - readings[at].values[seed] for seed in both]
    redrawn = [found[side][seed].redrawn for seed in both for side in (i, at)]
    p = None
    if any(each is None for each in redrawn):
        patients = _no_patients("not_recomputed")
    elif len({each.cases for each in redrawn if each is not None}) > 1:
        patients = _no_patients("other_cases")
    else:
        moved = np.mean([draws[i, seed] - draws[at, seed] for seed in both], axis=0)
        patients = _over_patients([moved], few=_few(redrawn), level=level, paired=True)
        p = None if patients.low is None else bootstrap_p(moved)
    return Difference(
        value=float(np.mean(own)), seeds=both, over_seeds=over_seeds(own, level=level), over_patients=patients, p=p
    )


def _corrected(columns: Sequence[Sequence[Reading]]) -> tuple[list[list[Reading]], int]:
    """Correct all p values of the table together."""
    flat = [reading for column in columns for reading in column]
    raw = [each.difference.p if each.difference is not None else None for each in flat]
    corrected = iter(
        replace(each, difference=replace(each.difference, p_holm=p)) if each.difference is not None else each
        for each, p in zip(flat, holm(raw), strict=True)
    )
    return [[next(corrected) for _ in column] for column in columns], sum(p is not None for p in raw)


def _caveats(cells: Sequence[CellFacts]) -> list[str]:
    runs = [run for cell in cells for run in cell.runs]
    finished = [run for run in runs if run.state == "finished"]
    caveats = []
    if len(finished) < len(runs):
        caveats.append(f"Not finished: {len(runs) - len(finished)} of {len(runs)} runs; means are over those that are.")
    if len({run.code for run in finished}) > 1:
        caveats.append(f"The runs were made by {len({run.code for run in finished})} versions of the code.")
    return caveats

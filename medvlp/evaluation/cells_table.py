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
from typing import Literal

import numpy as np
from scipy.stats import t as student

from medvlp.core.errors import ConfigError
from medvlp.core.suggest import did_you_mean
from medvlp.evaluation.cells import CellFacts, Difference, Limits, Measure, Reading, RunFacts, Table, TableRow
from medvlp.evaluation.redraw import Redrawn, redraw
from medvlp.evaluation.results import Metric, load_result
from medvlp.statistics.bootstrap import bootstrap, percentile_interval
from medvlp.statistics.holm import holm
from medvlp.statistics.metrics import FloatArray

__all__ = ["make_table", "over_seeds", "two_sided"]

_ROUNDING = 1e-12
_FEWEST = 6  # patients: below that resamples repeat each other and an interval means nothing
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
        resamples: of the patient bootstrap; at least 100 for each comparison are drawn.
        seed: of the bootstrap.

    Raises:
        ConfigError: if no finished run measures what is asked for, with the nearest name.
        DataError: if a results file is missing or damaged.
    """
    resamples = max(resamples, _ENOUGH * (len(cells) - 1) * len(measures) if reference is not None else 0)
    seen = _Seen()
    columns = []
    for measure in measures:
        found = [seen.read_all(cell.runs, measure) for cell in cells]
        if not any(found) and any(run.state == "finished" for cell in cells for run in cell.runs):
            raise ConfigError(
                f"No run measures {measure.name}: report another number: {did_you_mean(measure.name, seen.names)}."
            )
        columns.append(_column(cells, found, reference=reference, level=level, resamples=resamples, seed=seed))
    columns, comparisons = _corrected(columns)
    rows = tuple(
        TableRow(
            name=cell.name,
            labels=cell.labels,
            identity=cell.identity,
            runs=cell.runs,
            readings=tuple(column[at] for column in columns),
        )
        for at, cell in enumerate(cells)
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
    """Return ``mean -+ t sd / sqrt(k)`` with k - 1 degrees of freedom; nothing below two values.

    Example:
        >>> found = over_seeds([0.80, 0.82, 0.84])
        >>> round(found.low, 4), round(found.high, 4)
        (0.7703, 0.8697)
    """
    if len(values) < 2:
        reason = "one_seed" if values else "no_value"
        return Limits(low=None, high=None, method="student_t_over_seeds", reason=reason)
    reach = (
        float(student.ppf((1 + level) / 2, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    )
    mean = float(np.mean(values))
    return Limits(low=mean - reach, high=mean + reach, method="student_t_over_seeds")


def two_sided(draws: FloatArray) -> float | None:
    """Return the p value of "no difference" from resampled differences; None where more than half are not defined.

    Example:
        >>> two_sided(np.full(99, 0.1)), two_sided(np.zeros(99))
        (0.02, 1.0)
    """
    defined = draws[~np.isnan(draws)]
    if 2 * len(defined) < len(draws) or not len(defined):
        return None
    # Seeds whose differences cancel leave rounding, which is no sign.
    below, above = int((defined <= _ROUNDING).sum()), int((defined >= -_ROUNDING).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(defined) + 1))


class _Seen:
    """Reads results, and gathers what they say of themselves."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.caveats: list[str] = []
        self.synthetic = False

    def read_all(self, runs: Sequence[RunFacts], measure: Measure) -> dict[int, _Value]:
        """Return the number of every run that has it, by seed."""
        values = {run.seed: self.read(run, measure) for run in runs}
        return {seed: value for seed, value in values.items() if value is not None}

    def read(self, run: RunFacts, measure: Measure) -> _Value | None:
        """Return the number of a finished run; None where its results have none."""
        if run.state != "finished":
            return None
        folder = run.results[measure.split] / "results"
        path = folder / f"{measure.result}.json"
        if not path.is_file():
            others = sorted(folder.glob("*.json"))
            self.names |= {_named(other, row, measure) for other in others for row in _rows(other)}
            return None
        result = load_result(path)
        self.synthetic |= result.synthetic
        self.caveats += [caveat for caveat in result.caveats if caveat not in self.caveats]
        asked = (measure.metric, measure.label, measure.group)
        rows = [row for row in result.metrics if row.split in ("", measure.split)]
        found = [row for row in rows if (row.metric, row.label, row.group) == asked]
        if not found:
            self.names |= {_named(path, row, measure) for row in rows}
            return None
        return _Value(found[0], redraw(result, found[0]))


def _rows(path: Path) -> tuple[Metric, ...]:
    return load_result(path, cases=False).metrics if path.stem != "gallery" else ()


def _named(path: Path, row: Metric, measure: Measure) -> str:
    return Measure(result=path.stem, metric=row.metric, label=row.label, split=measure.split, group=row.group).name


def _column(
    cells: Sequence[CellFacts],
    found: Sequence[Mapping[int, _Value]],
    *,
    reference: str | None,
    level: float,
    resamples: int,
    seed: int,
) -> list[Reading]:
    """Read one measure of every cell."""
    draws = _draws(found, resamples=resamples, seed=seed)
    at = next((i for i, cell in enumerate(cells) if cell.name == reference), None)
    readings = []
    for i, values in enumerate(found):
        numbers = {s: value.row.value for s, value in values.items() if value.row.value is not None}
        first = next(iter(values.values()), None)
        told = next((value.row.reason for value in values.values() if value.row.reason), "")
        reason = told if numbers else "no_run" if first is None else told or "no_value"
        readings.append(
            Reading(
                values=numbers,
                mean=float(np.mean(list(numbers.values()))) if numbers else None,
                sd=float(np.std(list(numbers.values()), ddof=1)) if len(numbers) > 1 else None,
                over_seeds=over_seeds(list(numbers.values()), level=level),
                over_patients=_over_patients(
                    [draws.get((i, s)) for s in numbers], few=_few([values[s].redrawn for s in numbers]), level=level
                ),
                n=first.row.counts.n if first else None,
                positives=first.row.counts.positives if first else None,
                patients=first.row.counts.patients if first else None,
                difference=None,
                reason=reason,
            )
        )
    if at is None:
        return readings
    return [
        reading if i == at else replace(reading, difference=_difference(readings, found, draws, i, at, level))
        for i, reading in enumerate(readings)
    ]


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


def _over_patients(draws: Sequence[FloatArray | None], *, few: bool, level: float) -> Limits:
    method: Literal["patient_bootstrap_percentile"] = "patient_bootstrap_percentile"
    if few:
        return Limits(low=None, high=None, method=method, reason="few_patients")
    there = [each for each in draws if each is not None]
    if not draws or len(there) < len(draws):
        reason = "not_recomputed" if draws else "no_value"
        return Limits(low=None, high=None, method=method, reason=reason)
    interval = percentile_interval(np.mean(there, axis=0), level=level)
    reason = "few_resamples" if interval.low is None else ""
    return Limits(low=interval.low, high=interval.high, method=method, reason=reason)


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
    pairs = [(found[i][seed].redrawn, found[at][seed].redrawn) for seed in both]
    same = len({redrawn.cases for pair in pairs for redrawn in pair if redrawn is not None}) == 1
    patients = Limits(low=None, high=None, method="patient_bootstrap_percentile", reason="not_recomputed")
    p = None
    if all(one is not None and other is not None for one, other in pairs):
        if same:
            moved = np.mean([draws[i, seed] - draws[at, seed] for seed in both], axis=0)
            few = _few([redrawn for pair in pairs for redrawn in pair])
            patients, p = _over_patients([moved], few=few, level=level), None if few else two_sided(moved)
        else:
            patients = replace(patients, reason="other_cases")
    return Difference(
        value=float(np.mean(own)),
        seeds=both,
        over_seeds=over_seeds(own, level=level),
        over_patients=patients,
        p=p,
    )


def _corrected(columns: Sequence[Sequence[Reading]]) -> tuple[list[list[Reading]], int]:
    """Correct all p values of the table together."""
    places = [(c, r) for c, column in enumerate(columns) for r, reading in enumerate(column) if reading.difference]
    raw = [difference.p if (difference := columns[c][r].difference) else None for c, r in places]
    out = [list(column) for column in columns]
    for (c, r), p in zip(places, holm(raw), strict=True):
        difference = out[c][r].difference
        if difference is not None:
            out[c][r] = replace(out[c][r], difference=replace(difference, p_holm=p))
    return out, sum(p is not None for p in raw)


def _caveats(cells: Sequence[CellFacts]) -> list[str]:
    runs = [run for cell in cells for run in cell.runs]
    finished = [run for run in runs if run.state == "finished"]
    told = []
    if len(finished) < len(runs):
        told.append(f"Not finished: {len(runs) - len(finished)} of {len(runs)} runs; means are over those that are.")
    if len({run.code for run in finished}) > 1:
        told.append(f"The runs were made by {len({run.code for run in finished})} versions of the code.")
    return told

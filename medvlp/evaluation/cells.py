"""What the table of a sweep is made of: measures, runs, readings, rows; plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["CellFacts", "Difference", "Limits", "Measure", "Reading", "RunFacts", "State", "Table", "TableRow"]

State = Literal["finished", "failed", "begun", "not begun"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Which number of a results file: see `medvlp.evaluation.results.Metric`.

    Example:
        >>> Measure(result="zero_shot", metric="auroc", label="macro", split="test").name
        'zero_shot auroc macro (test)'
    """

    result: str
    metric: str
    label: str
    split: str
    group: str | None = None

    @property
    def name(self) -> str:
        """Words for messages and heads of tables."""
        return f"{self.result} {self.metric} {self.label}{f' {self.group}' if self.group else ''} ({self.split})"


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run of a cell.

    Attributes:
        seed: of the run.
        folder: of the run, as the table names it.
        state: how far it came.
        reason: of a failure.
        seconds: that it took.
        code: hash of the code that made it.
        results: split -> folder with the results files; read where `state` is ``finished``.
    """

    seed: int
    folder: str
    state: State
    reason: str = ""
    seconds: float = 0.0
    code: str = ""
    results: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CellFacts:
    """A row of the table before it is measured."""

    name: str
    labels: Mapping[str, str]
    identity: str
    runs: tuple[RunFacts, ...]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """An interval; both None where there is none, and `reason` says why.

    Attributes:
        low, high: limits.
        method: ``student_t_over_seeds`` or ``patient_bootstrap_percentile``.
        reason: ``one_seed``, ``not_recomputed``, ``other_cases``, ``few_patients`` (below 6 in a class),
            ``few_resamples``, ``no_value``.
    """

    low: float | None
    high: float | None
    method: Literal["student_t_over_seeds", "patient_bootstrap_percentile"]
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A cell less the reference, over the seeds that both have.

    Attributes:
        value: mean over these seeds.
        seeds: that both have.
        over_seeds: Student's t interval of the seeds' differences.
        over_patients: of the paired patient bootstrap, averaged over the seeds.
        p: of patients, two-sided; None where patients cannot be paired.
        p_holm: corrected over all comparisons of the table.
    """

    value: float
    seeds: tuple[int, ...]
    over_seeds: Limits
    over_patients: Limits
    p: float | None
    p_holm: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A measure of a cell.

    Attributes:
        values: seed -> value of each finished run that has one.
        mean: of them; None where there is none, and `reason` says why.
        sd: their standard deviation (n - 1); None below two seeds.
        over_seeds: interval of the mean if training were repeated.
        over_patients: interval of the mean if test patients were drawn again.
        n: test rows, of the first seed.
        positives: positive rows, where the word has a meaning.
        patients: test patients.
        difference: to the reference; None for itself, or where one of both has no value.
        reason: ``no_run``, or that of the metric: ``few_positives`` where the patient interval is optimistic.
    """

    values: Mapping[int, float]
    mean: float | None
    sd: float | None
    over_seeds: Limits
    over_patients: Limits
    n: int | None
    positives: int | None
    patients: int | None
    difference: Difference | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A cell with one reading a measure."""

    name: str
    labels: Mapping[str, str]
    identity: str
    runs: tuple[RunFacts, ...]
    readings: tuple[Reading, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """The table.

    Attributes:
        title: words.
        measures: columns.
        rows: cells.
        reference: name of the cell that others are compared with.
        level: of all intervals.
        resamples: that the patient intervals were made of.
        comparisons: p values that were corrected together.
        synthetic: some results are of synthetic data.
        caveats: sentences that a reader must have seen.
    """

    title: str
    measures: tuple[Measure, ...]
    rows: tuple[TableRow, ...]
    reference: str | None
    level: float
    resamples: int
    comparisons: int
    synthetic: bool
    caveats: tuple[str, ...]

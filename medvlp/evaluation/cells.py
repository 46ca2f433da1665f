"""What the table of a sweep is made of: measures, runs, readings, rows; plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class RunState:
    """How far a run of a grid came.

    Attributes:
        state: of the run.
        reason: of a failure, or why it is left out; one sentence.
        seconds: that it took, over all its starts.
        code: hash of the code that finished it.
        memory: largest resident memory of its process in MB; 0 where unknown.
    """

    state: Literal["finished", "failed", "begun", "not begun"]
    reason: str = ""
    seconds: float = 0.0
    code: str = ""
    memory: float = 0.0


class ReportedNumber(BaseModel):
    """A number of ``results/NAME.json`` that a table reports.

    Attributes:
        result: name of the results file: ``zero_shot``, ``linear_probe``, ``retrieval`` ...; a suite takes a pattern
            too, ``grounding_*``: the first of the model that fits it.
        metric: ``auroc``, ``average_precision``, ``recall@5`` ...
        label: finding, ``macro``, or a direction of retrieval.
        group: subgroup as results name it: ``site=north``, ``report_group<=3``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)

    result: str = "zero_shot"
    metric: str = "auroc"
    label: str = "macro"
    group: str | None = None


class Measure(ReportedNumber):
    """A column of a sweep's table, at the first operating point or by the released calibration; its split is evaluated.

    Example:
        >>> Measure(result="zero_shot", metric="auroc", label="macro", split="test").name
        'zero_shot auroc macro (test)'
    """

    split: str = "test"

    @property
    def name(self) -> str:
        """Words for messages and heads of tables."""
        return f"{self.result} {self.metric} {self.label}{f' {self.group}' if self.group else ''} ({self.split})"


@dataclass(frozen=True, kw_only=True)
class RunFacts(RunState):
    """One run of a grid cell: its seed, folder and results files.

    Attributes:
        seed: of the run.
        folder: of the run, as the table names it.
        results: split -> folder with the results files; read where `state` is ``finished``.
    """

    seed: int
    folder: str
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
            ``few_resamples``, ``no_spread`` (all seeds or resamples give one number), ``no_value``.
    """

    low: float | None = None
    high: float | None = None
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
    """One number of a grid cell, over its seeds.

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
class TableRow(CellFacts):
    """A cell with one reading a measure."""

    readings: tuple[Reading, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """The table of a grid: cells with their numbers.

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

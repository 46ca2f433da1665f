"""The table of a suite: numbers of one bundle on several data sets, beside those that others published; plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medvlp.core.errors import DataError
from medvlp.data.reproduction import Claim, Measured, ReproductionCard, Task
from medvlp.evaluation.cells import State
from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.tables import Cell, Table

__all__ = [
    "SCHEMA",
    "PublishedRow",
    "Suite",
    "SuiteLine",
    "SuiteNumber",
    "Wanted",
    "load_suite_table",
    "published_rows",
    "published_table",
    "suite_numbers",
    "suite_table",
    "suite_text",
    "task_of",
]

SCHEMA = "medvlp.suite/1"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Wanted(_Frozen):
    """A number that a suite reports.

    Attributes:
        result: name of the results file, or a pattern (``grounding_*``): the first of the model that fits it.
        metric, label, group: of its row.
        usual: whether papers report this one on the data set.
    """

    result: str
    metric: str
    label: str
    group: str | None = None
    usual: bool = False


class SuiteLine(_Frozen):
    """A data set of the suite.

    Attributes:
        name: of the run.
        config: that it was made from.
        card: data card; empty where there is none.
        title: of the data set.
        split: name of the split and part that was judged.
        folder: below the suite's.
        state, reason, seconds, code: how far it came, see `medvlp.runs.grid.jobs.Standing`.
        recipe, data, split_hash: hashes of what made the numbers.
        synthetic: whether nobody stands behind the data.
        caveats: sentences that a reader must have seen before the numbers.
    """

    name: str
    config: str
    card: str = ""
    title: str = ""
    split: str = ""
    folder: str
    state: State
    reason: str = ""
    seconds: float = 0.0
    code: str = ""
    recipe: str = ""
    data: str = ""
    split_hash: str = ""
    synthetic: bool = False
    caveats: tuple[str, ...] = ()


class SuiteNumber(_Frozen):
    """A number of the table.

    Attributes:
        run: that it is of.
        wanted: what was asked for.
        row: the row of the results; None where the run has none like it.
        title: of the result.
        sha256: of the results file.
    """

    run: str
    wanted: Wanted
    row: Metric | None
    title: str = ""
    sha256: str = ""


class PublishedRow(_Frozen):
    """What is published of a model on a data set, and what is measured here.

    Attributes:
        model: name of the reproduction card.
        title: of the model.
        claim: as on the card; `ours` is the suite's number where the suite's bundle is that model.
    """

    model: str
    title: str
    claim: Claim


class Suite(_Frozen):
    """A suite's outcome.

    Attributes:
        title: of the table.
        model: the bundle, as it was given.
        bundle: hash of its manifest.
        reproduces: name of the reproduction card that the bundle is of; empty for none.
        lines: one a data set.
        numbers: in the order of the data sets.
        published: of the data sets that were judged.
    """

    schema_id: Literal["medvlp.suite/1"] = Field(default=SCHEMA, alias="schema")
    title: str
    model: str
    bundle: str
    reproduces: str = ""
    lines: tuple[SuiteLine, ...]
    numbers: tuple[SuiteNumber, ...]
    published: tuple[PublishedRow, ...]

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    @property
    def synthetic(self) -> bool:
        """Whether any number is of synthetic data."""
        return any(line.synthetic for line in self.lines)


def suite_text(suite: Suite) -> str:
    """Return the suite as a JSON document."""
    return json.dumps(suite.model_dump(mode="json", by_alias=True), indent=1, allow_nan=False) + "\n"


def load_suite_table(path: Path) -> Suite:
    """Read a suite's ``table.json``.

    Raises:
        DataError: if it is missing or none.
    """
    try:
        return Suite.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: run `medvlp evaluate SUITE.yaml` to make it.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise DataError(f"{path} is no table of schema {SCHEMA}: {where}: {first['msg']}; make it again.") from None


def suite_numbers(
    run: str, wanted: Iterable[Wanted], results: dict[str, tuple[Result, str]], split: str
) -> tuple[SuiteNumber, ...]:
    """Look up what a suite reports of a run; a number that is not there stays, without a row.

    Args:
        run: its name.
        wanted: what is asked for.
        results: name -> result and the hash of its file.
        split: part that was judged.
    """
    return tuple(_number(run, each, results, split) for each in wanted)


def _number(run: str, wanted: Wanted, results: dict[str, tuple[Result, str]], split: str) -> SuiteNumber:
    fitting = [
        name for name in sorted(results) if fnmatchcase(name, wanted.result) and results[name][0].role == "model"
    ]
    for name in fitting:
        result, sha = results[name]
        rows = [row for row in result.metrics if _is_it(row, wanted, split)]
        if len(rows) == 1:
            asked = wanted.model_copy(update={"result": name})
            return SuiteNumber(run=run, wanted=asked, row=rows[0], title=result.title, sha256=sha)
    return SuiteNumber(run=run, wanted=wanted, row=None)


def _is_it(row: Metric, wanted: Wanted, split: str) -> bool:
    here = (row.metric, row.label, row.group) == (wanted.metric, wanted.label, wanted.group)
    return here and row.split in ("", split) and row.operating_point is None and row.calibration is None


def task_of(result: str) -> Task | None:
    """Return the task of reproduction cards with which the name of a results file begins; None where there is none.

    Example:
        >>> task_of("grounding_hires_cam"), task_of("linear_probe"), task_of("thumbnail")
        ('grounding', 'linear_probe', None)
    """
    return next((task for task in get_args(Task) if result.startswith(task)), None)


def published_rows(
    line: SuiteLine,
    numbers: Sequence[SuiteNumber],
    claims: Iterable[tuple[ReproductionCard, Claim]],
    *,
    reproduces: str = "",
) -> tuple[PublishedRow, ...]:
    """Return what is published on a data set by a task and metric that the suite reports as usual.

    Args:
        line: the data set.
        numbers: of the suite.
        claims: on it.
        reproduces: card whose model the bundle is: its rows get the suite's number, where the split is the same.
    """
    usual = {
        (task_of(number.wanted.result), number.wanted.metric, number.wanted.label): number
        for number in numbers
        if number.run == line.name and number.wanted.usual
    }
    rows = []
    for card, claim in claims:
        number = usual.get((claim.task, claim.metric, claim.label))
        if number is None:
            continue
        if card.model == reproduces and claim.split == line.split.partition(",")[0]:
            claim = claim.model_copy(update={"ours": _measured(line, number)})
        rows.append(PublishedRow(model=card.model, title=card.title, claim=claim))
    return tuple(rows)


def _measured(line: SuiteLine, number: SuiteNumber) -> Measured | None:
    row = number.row
    if row is None or row.value is None:
        return None
    where = f"{line.folder}/results/{number.wanted.result}.json"
    return Measured(
        value=row.value,
        low=row.interval.low,
        high=row.interval.high,
        n=row.counts.n,
        patients=row.counts.patients,
        results=where,
        sha256=number.sha256,
    )


# tables -------------------------------------------------------------------------------------------------------------


def suite_table(suite: Suite) -> Table:
    """Return the numbers as a table for a paper or a spreadsheet."""
    lines = {line.name: line for line in suite.lines}
    rows = tuple(
        (
            lines[number.run].title or number.run,
            lines[number.run].split,
            number.wanted.result,
            number.wanted.metric + (" (usual)" if number.wanted.usual else ""),
            number.wanted.label + (f", {number.wanted.group}" if number.wanted.group else ""),
            _cell(number.row),
            *_counts(number.row),
        )
        for number in suite.numbers
    )
    columns = ("Data set", "split", "result", "metric", "finding", "value", "n", "positive", "patients", "findings")
    return Table(suite.title, columns, rows, _notes(suite))


def published_table(suite: Suite) -> Table:
    """Return what is published beside what is measured here; an empty cell stays empty."""
    rows = tuple(
        (
            row.title,
            row.claim.data,
            row.claim.split,
            f"{row.claim.task} {row.claim.metric}",
            row.claim.label,
            Cell(None if row.claim.paper is None else row.claim.paper.value),
            ", ".join(f"{each.value:.3f}" for each in row.claim.released) or "-",
            ", ".join(f"{each.value:.3f}" for each in row.claim.quoted) or "-",
            Cell(None)
            if row.claim.ours is None
            else Cell(row.claim.ours.value, row.claim.ours.low, row.claim.ours.high),
        )
        for row in suite.published
    )
    columns = ("Model", "data", "split", "task", "finding", "paper", "released weights", "quoted", "here")
    notes = ("Published numbers have no intervals; their sources stand in data_cards/reproduction.",)
    return Table("Published", columns, rows, notes)


def _cell(row: Metric | None) -> Cell:
    return Cell(None) if row is None else Cell(row.value, row.interval.low, row.interval.high)


def _counts(row: Metric | None) -> tuple[str | int, ...]:
    if row is None:
        return ("", "", "", "")
    positives = "" if row.counts.positives is None or row.counts.labels_used is not None else row.counts.positives
    return (
        row.counts.n,
        positives,
        row.counts.patients,
        "" if row.counts.labels_used is None else row.counts.labels_used,
    )


def _notes(suite: Suite) -> tuple[str, ...]:
    notes = ["Intervals are 95 %, over patients."]
    notes += ["Synthetic data: the numbers prove the machinery, never clinical performance."] if suite.synthetic else []
    notes += [f"{line.title or line.name}: {text}" for line in suite.lines for text in line.caveats]
    notes += [f"{line.name} is {line.state}: {line.reason}" for line in suite.lines if line.reason]
    return tuple(notes)

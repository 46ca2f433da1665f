"""The table of a suite: numbers of bundles on several data sets, beside those that others published; plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medvlp.core.errors import DataError
from medvlp.data.reproduction import Claim, Measured, ReproductionCard, Task
from medvlp.evaluation.cells import ReportedNumber
from medvlp.evaluation.results import Metric, Result, fault_in
from medvlp.evaluation.rows import asked_row
from medvlp.evaluation.tables import SYNTHETIC, Cell, Table
from medvlp.evaluation.words import rule_words

SCHEMA = "medvlp.suite/1"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


class Wanted(ReportedNumber):
    """A number that a suite reports.

    Attributes:
        usual: whether papers report this one on the data set.
    """

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
        state, reason, seconds, code, memory: how far it came, see `medvlp.evaluation.cells.RunState`.
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
    state: Literal["finished", "failed", "begun", "not begun"]
    reason: str = ""
    seconds: float = 0.0
    code: str = ""
    memory: float = 0.0
    recipe: str = ""
    data: str = ""
    split_hash: str = ""
    synthetic: bool = False
    caveats: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The data set's title, else the run's name."""
        return self.title or self.name


class SuiteNumber(_Frozen):
    """A number of a run: its row of the results, None where the run has none like it, and the hash of their file."""

    run: str
    wanted: Wanted
    row: Metric | None
    title: str = ""
    sha256: str = ""

    @property
    def about(self) -> str:
        """Whose it is and at which operating point, as it stands behind the finding."""
        point = self.row.operating_point if self.row is not None else None
        return "".join(f", {each}" for each in (self.wanted.group, point and rule_words(point)) if each)


class PublishedRow(_Frozen):
    """What a reproduction card claims of a model; `ours` in it is the suite's number where its bundle is that model."""

    model: str
    title: str
    claim: Claim


class Suite(_Frozen):
    """Result of an evaluation suite.

    Attributes:
        title: of the table.
        model: the bundle, as it was given; empty where there are several.
        bundle: hash of its manifest.
        models: of several, label -> bundle and hash of its manifest.
        reproduces: name of the reproduction card that the bundle is of; empty for none.
        lines: one a data set, and bundle.
        numbers: in the order of the lines.
        published: of the data sets that were judged.
    """

    schema_id: Literal["medvlp.suite/1"] = Field(default=SCHEMA, alias="schema")
    title: str
    model: str
    bundle: str
    models: dict[str, tuple[str, str]] = Field(default_factory=dict)
    reproduces: str = ""
    lines: tuple[SuiteLine, ...]
    numbers: tuple[SuiteNumber, ...]
    published: tuple[PublishedRow, ...]

    @property
    def synthetic(self) -> bool:
        """Whether any number is of synthetic data."""
        return any(line.synthetic for line in self.lines)


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
        raise DataError(f"{path} is no table of schema {SCHEMA}: {fault_in(error)}; make it again.") from None


def suite_numbers(
    run: str, wanted: Iterable[Wanted], results: dict[str, tuple[Result, str]], split: str
) -> tuple[SuiteNumber, ...]:
    """Look up what a suite reports of a run; a number that is not there stays, without a row.

    `results` are name -> result and the hash of its file; `split` is the part that was judged.
    """
    return tuple(_number(run, each, results, split) for each in wanted)


def _number(run: str, wanted: Wanted, results: dict[str, tuple[Result, str]], split: str) -> SuiteNumber:
    for name, (result, sha256) in sorted(results.items()):
        if result.role == "model" and fnmatchcase(name, wanted.result):
            row = asked_row(result, wanted, split)
            if row is not None:
                asked = wanted.model_copy(update={"result": name})
                return SuiteNumber(run=run, wanted=asked, row=row, title=result.title, sha256=sha256)
    return SuiteNumber(run=run, wanted=wanted, row=None)


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
    """Return which claims on a data set are of a task and metric that the suite reports as usual.

    Rows of the card `reproduces`, whose model the bundle is, get the suite's number where the split is the same.
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
    return Measured(
        value=row.value,
        low=row.interval.low,
        high=row.interval.high,
        n=row.counts.n,
        patients=row.counts.patients,
        results=f"{line.folder}/results/{number.wanted.result}.json",
        sha256=number.sha256,
    )


# tables -------------------------------------------------------------------------------------------------------------


def suite_table(suite: Suite) -> Table:
    """Return the numbers as a table for a paper or a spreadsheet."""
    lines = {line.name: line for line in suite.lines}
    rows = tuple(
        (
            lines[number.run].shown,
            lines[number.run].split,
            number.wanted.result,
            number.wanted.metric + (" (usual)" if number.wanted.usual else ""),
            number.wanted.label + number.about,
            *number_cells(number.row),
        )
        for number in suite.numbers
    )
    columns = ("Data set", "split", "result", "metric", "finding", "value", "n", "positive", "patients", "findings")
    return Table(suite.title, columns, rows, _notes(suite), words=5)


def published_table(suite: Suite) -> Table:
    """Return what is published beside what is measured here; an empty cell stays empty, sources stand below."""
    rows, notes = [], ["Published numbers have no intervals; * is recalled, not looked up again."]
    for row in suite.published:
        claim, ours = row.claim, row.claim.ours
        paper = () if claim.paper is None else (claim.paper,)
        given = [
            ", ".join(f"{each.value:.3f}{'*' if each.recalled else ''}" for each in some) or "-"
            for some in (paper, claim.released, claim.quoted)
        ]
        here = Cell(None) if ours is None else Cell(ours.value, ours.low, ours.high)
        about = f"{claim.task} {claim.metric}{f', {claim.about}' if claim.about else ''}"
        rows.append((row.title, claim.data, claim.split, about, claim.label, *given, here, "" if not ours else ours.n))
        notes += [
            f"{row.title}, {claim.data}: {each.value:.3f}: {each.source}{' (recalled)' if each.recalled else ''}"
            for each in (*paper, *claim.released, *claim.quoted)
        ]
        notes += [f"{row.title}, {claim.data}: {claim.note}"] if claim.note else []
    columns = ("Model", "data", "split", "task", "finding", "paper", "released weights", "quoted", "here", "n")
    return Table("Published", columns, tuple(rows), tuple(dict.fromkeys(notes)), words=5)


def number_cells(row: Metric | None) -> tuple[Cell | str | int, ...]:
    """Return a number's entries of a table: value with interval, n, positive, patients, findings of a mean."""
    if row is None:
        return (Cell(None), "", "", "", "")
    counts = row.counts
    positives = "" if counts.positives is None or counts.labels_used is not None else counts.positives
    findings = "" if counts.labels_used is None else counts.labels_used
    return (Cell(row.value, row.interval.low, row.interval.high), counts.n, positives, counts.patients, findings)


def _notes(suite: Suite) -> tuple[str, ...]:
    notes = ["Intervals are 95 %, over patients.", *([SYNTHETIC] if suite.synthetic else [])]
    notes += [f"{line.shown}: {text}" for line in suite.lines for text in line.caveats]
    notes += [f"{line.name} is {line.state}: {line.reason}" for line in suite.lines if line.reason]
    return tuple(notes)

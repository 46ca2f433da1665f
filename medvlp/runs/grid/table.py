"""From the runs of a grid to its table and page."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from typing import Any, Generic, TypeVar

from medvlp.config.yaml import find_config
from medvlp.core.errors import DataError, UserError
from medvlp.core.files import sha256_of, write_json
from medvlp.core.processes import exclusive, one_process
from medvlp.core.provenance import code_hash
from medvlp.data.cards import cards, load_card
from medvlp.data.reproduction import claims_on, load_reproduction
from medvlp.evaluation.cells import CellFacts, RunFacts, Table
from medvlp.evaluation.cells_table import make_table, not_measured
from medvlp.evaluation.cells_words import document, number_table, reading_tables
from medvlp.evaluation.results import Result, load_result
from medvlp.evaluation.suite import (
    PublishedRow,
    Suite,
    SuiteLine,
    SuiteNumber,
    published_rows,
    published_table,
    suite_numbers,
    suite_table,
)
from medvlp.evaluation.tables import write_tables
from medvlp.pages.grid import render_suite, render_sweep
from medvlp.pages.record import Record
from medvlp.runs.grid.jobs import carry_out, data_changed, run_state
from medvlp.runs.grid.plan import Cell, Plan, Run
from medvlp.runs.grid.suite import SuiteConfig, load_suite
from medvlp.runs.grid.sweep import Choice, SweepConfig, changes_of, load_sweep

logger = logging.getLogger(__name__)

_CHANGES = 3  # shown of a cell that was configured otherwise
Numbers = TypeVar("Numbers", Table, Suite)


@dataclass(frozen=True)
class Outcome(Generic[Numbers]):
    """What a grid left: page and numbers, None where no run is finished, and what became of its runs.

    Attributes:
        runs: how many the grid has.
        failed: with their sentence.
        unfinished: cells with their seeds that are neither finished nor failed.
        left_out: without data, with their sentence.
    """

    page: Path | None
    table: Numbers | None
    runs: int
    failed: tuple[str, ...]
    unfinished: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def sweep(
    path: str | Path, words: Sequence[str] = (), *, out: Path | None = None, jobs: int = 1, only_table: bool = False
) -> Outcome[Table]:
    """Run what is missing of a sweep (see `load_sweep`), `jobs` processes at a time, then make its table.

    Raises:
        UserError: for a fault of the configuration, before anything runs; not for a run that fails.
    """
    _check_processes("sweep", jobs)
    plan = load_sweep(path, words, out=out)
    for line in _changed(plan):
        logger.info(line)
    if not only_table:
        with exclusive(plan.out, what="sweep", otherwise="choose another --out"):
            write_json(plan.out / "sweep.json", plan.config.model_dump(mode="json"))
            waiting = [run for run in plan.runs if run_state(run).state != "finished"]
            logger.info(
                f"{len(plan.cells)} cells x {len(plan.config.seeds)} seeds: {len(plan.runs)} runs, "
                f"{len(plan.runs) - len(waiting)} finished before, {len(waiting)} to do."
            )
            carry_out(waiting, title="Sweep", jobs=jobs, first=lambda run: _look_at(_facts(run, plan), plan))
    return _sweep_table(plan, find_config(path).parent)


def evaluate_suite(path: str | Path, words: Sequence[str] = (), *, jobs: int = 1) -> Outcome[Suite]:
    """Judge what is not judged yet of a suite (see `load_suite`), `jobs` processes at a time, then make its table.

    Raises:
        UserError: for a fault of the configuration, before anything runs; not for a run that fails.
    """
    _check_processes("suite", jobs)
    plan = load_suite(path, words)
    if plan.config.reproduces is not None:
        load_reproduction(plan.config.reproduces)  # a wrong name is told before hours of work
    with exclusive(plan.out, what="suite", otherwise="choose another out"):
        write_json(plan.out / "suite.json", plan.config.model_dump(mode="json"))
        there = [run for run in plan.runs if not run.absent]
        waiting = [run for run in there if run_state(run).state != "finished" or data_changed(run)]
        logger.info(
            f"{len(plan.runs)} runs: {len(plan.runs) - len(there)} without data, {len(there) - len(waiting)} finished "
            f"before, {len(waiting)} to do."
        )
        carry_out(waiting, title="Suite", jobs=jobs)
    return _suite_table(plan)


def plan_lines(plan: Plan[SweepConfig]) -> list[str]:
    """Return a sweep in words: each cell, its folder and how far its runs came."""
    lines = [f"{len(plan.cells)} cells x {len(plan.config.seeds)} seeds in {plan.out}"]
    for cell in plan.cells:
        states = [run_state(run).state for run in cell.runs]
        came = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        mark = " (reference)" if cell.name == plan.reference else ""
        lines.append(f"  {cell.name}{mark}: {came}; {cell.folder.relative_to(plan.out)}")
    lines += [f"  reports {measure.name}" for measure in plan.config.report]
    return [*lines, *_changed(plan)]


def _check_processes(kind: str, jobs: int) -> None:
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}: give 1 or more processes.")
    one_process(f"A {kind}, which starts processes of its own (--jobs),")


def _changed(plan: Plan[SweepConfig]) -> list[str]:
    lines = []
    for cell in plan.cells:
        for folder, changes in [] if cell.folder.exists() else changes_of(cell):
            more = f" and {len(changes) - _CHANGES} more" if len(changes) > _CHANGES else ""
            what = f" ({'; '.join(changes[:_CHANGES])}{more})" if changes else ""
            lines.append(
                f"{cell.name}: its configuration changed since {folder} was made{what}; it is another cell now and is "
                "run anew, the old one stays."
            )
    return lines


# sweep --------------------------------------------------------------------------------------------------------------


def _sweep_table(plan: Plan[SweepConfig], beside: Path) -> Outcome[Table]:
    facts = [
        CellFacts(
            name=cell.name,
            labels=cell.labels,
            identity=cell.identity,
            runs=tuple(_facts(run, plan) for run in cell.runs),
        )
        for cell in plan.cells
    ]
    states = [(run, run_state(run)) for run in plan.runs]
    failed = tuple(f"{run.name}: {found.reason} ({run.log})" for run, found in states if found.state == "failed")
    left = tuple(filter(None, map(_left, plan.cells)))
    if all(found.state != "finished" for _, found in states):
        return Outcome(None, None, len(states), failed, left)
    config = plan.config
    own = {"title": plan.title, "reference": plan.reference, "level": config.level, "resamples": config.resamples}
    table = make_table(facts, config.report, **own)
    page = render_sweep(table, _made(plan, table, beside))
    tables = reading_tables(table)
    write_tables(plan.out, tables, numbers=number_table(table), document=document(table), page=page)
    return Outcome(plan.out / "table.html", table, len(states), failed, left)


def _look_at(run: RunFacts, plan: Plan[SweepConfig]) -> None:
    """Say of the first run that is finished what it lacks of the report: a wrong name is told before the others run."""
    for line in not_measured(run, plan.config.report):
        logger.warning(f"The first run does not measure {line}")


def _left(cell: Cell) -> str:
    """Name a cell with its seeds that are neither finished nor failed; empty where there is none."""
    seeds = [str(run.seed) for run in cell.runs if run_state(run).state not in ("finished", "failed")]
    return f"{cell.name}, seed {', '.join(seeds)}" if seeds else ""


def _facts(run: Run, plan: Plan[SweepConfig]) -> RunFacts:
    results = {split: Path(each.config.out) for split, each in run.evaluations.items()}
    folder = run.folder.relative_to(plan.out).as_posix()
    return RunFacts(**vars(run_state(run)), seed=run.seed, folder=folder, results=results)


def _made(plan: Plan[SweepConfig], table: Table, beside: Path) -> dict[str, dict[str, object]]:
    """Return how a sweep was made: of every run, and what each choice sets; `beside` is the folder of its file."""
    config = plan.config
    facts: dict[str, object] = {"base": config.base, "seeds": ", ".join(map(str, config.seeds))}
    if config.overrides:
        facts["overrides"] = _settings(config.overrides)
    facts |= {"reference": plan.reference or "none", "patient resamples": table.resamples}
    facts |= {"comparisons corrected together": table.comparisons, "code that made the table": code_hash()}
    axes: dict[str, dict[str, object]] = {
        axis: {choice.label: _choice_words(choice, axis, table, beside) for choice in choices}
        for axis, choices in config.axes.items()
    }
    return {"every run": facts, **axes}


def _choice_words(choice: Choice, axis: str, table: Table, beside: Path) -> str:
    """Return what a choice sets, and what the paper of a configuration that it names claims beside what was seen."""
    words = ", ".join(filter(None, (choice.config, _settings(choice.overrides)))) or "as the base says"
    if choice.config is None:
        return words
    lines = find_config(choice.config, beside).read_text(encoding="utf-8").splitlines()
    head = " ".join(line.strip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    claim = re.search(r"\bClaims: (.+?)(?= (?:When|Costs|Needs|Mind): |$)", head)
    seen = [row.readings[0].difference for row in table.rows if row.labels[axis] == choice.label]
    words += f"; claimed: {claim[1].rstrip('.')}" if claim else ""
    if len(seen) == 1 and seen[0] is not None:
        words += f"; seen: {table.measures[0].name} {seen[0].value:+.3f} to {table.reference}"
    return words


def _settings(overrides: dict[str, Any]) -> str:
    return ", ".join(
        f"{path}={json.dumps(value, ensure_ascii=False, default=str)}" for path, value in overrides.items()
    )


# suite --------------------------------------------------------------------------------------------------------------


def _suite_table(plan: Plan[SuiteConfig]) -> Outcome[Suite]:
    lines: list[SuiteLine] = []
    numbers: list[SuiteNumber] = []
    for cell in plan.cells:
        run = cell.runs[0]
        results = _results(run) if run_state(run).state == "finished" else {}
        lines.append(_line(run, results, config=cell.labels["config"], out=plan.out))
        if results:
            numbers += suite_numbers(run.name, run.evaluation.report, results, run.evaluation.evaluation.split)
    titles = [line.title for line in lines if line.title]
    for at, line in enumerate(lines):
        if titles.count(line.title) > 1:  # two runs of one data set, such as one a view or a model
            lines[at] = line.model_copy(update={"title": f"{line.title} ({line.name})"})
    reproduces = plan.config.reproduces or ""
    published: list[PublishedRow] = []
    for line in lines:
        rows = published_rows(line, numbers, claims_on(line.card), reproduces=reproduces)
        published += [row for row in rows if line.state == "finished" and row not in published]  # once for all bundles
    # As the plan read them, which the numbers are of: a bundle may have been replaced since.
    hashes = {cell.labels["model"]: cell.labels["bundle"] for cell in plan.cells}
    bundles = {label: (path, hashes[label]) for label, path in plan.config.bundles.items()}
    model, bundle = bundles.pop("", ("", ""))
    suite = Suite(
        title=plan.title,
        model=model,
        bundle=bundle,
        models=bundles,
        reproduces=reproduces,
        lines=tuple(lines),
        numbers=tuple(numbers),
        published=tuple(published),
    )
    states = zip(plan.runs, lines, strict=True)
    failed = tuple(f"{line.name}: {line.reason} ({run.log})" for run, line in states if line.state == "failed")
    left_out = tuple(f"{run.name}: {run.absent}" for run in plan.runs if run.absent)
    unfinished = tuple(line.name for line in lines if line.state not in ("finished", "failed"))
    if not numbers:
        return Outcome(None, None, len(lines), failed, unfinished, left_out)
    tables = [suite_table(suite), *([published_table(suite)] if suite.published else [])]
    document = suite.model_dump(mode="json", by_alias=True)
    write_tables(plan.out, tables, numbers=tables[0], document=document, page=render_suite(suite))
    return Outcome(plan.out / "table.html", suite, len(lines), failed, unfinished, left_out)


def _results(run: Run) -> dict[str, tuple[Result, str]]:
    folder = run.evaluations[run.evaluation.evaluation.split].results
    paths = [path for path in sorted(folder.glob("*.json")) if path.stem != "gallery"]
    return {path.stem: (load_result(path, cases=False), sha256_of(path)) for path in paths}


def _line(run: Run, results: dict[str, tuple[Result, str]], *, config: str, out: Path) -> SuiteLine:
    data = run.evaluation.data
    named = (data.split.get("card"), None if data.layout is None else data.layout.get("name"))
    card = next((str(name) for name in named if name in cards()), "")
    some = [result for result, _ in results.values()]
    facts: dict[str, Any] = {}
    if some:
        facts = {
            "recipe": some[0].recipe,
            "data": some[0].data,
            "split_hash": some[0].split,
            "synthetic": any(result.synthetic for result in some),
            "caveats": tuple(dict.fromkeys([*_part(run, card), *_caveats(run, results)])),
        }
    return SuiteLine(
        **vars(run_state(run)),
        name=run.name,
        config=config,
        card=card,
        title=load_card(card).title if card else "",
        split=f"{_split(run)}, {run.evaluation.evaluation.split}",
        folder=run.folder.relative_to(out).as_posix(),
        **facts,
    )


def _caveats(run: Run, results: dict[str, tuple[Result, str]]) -> list[str]:
    """Caveats of the results that the table reports; the run's own page has those of all."""
    asked = [each.result for each in run.evaluation.report]
    some = [found for name, (found, _) in results.items() if any(fnmatchcase(name, each) for each in asked)]
    return [text for found in some for text in found.caveats]


def _part(run: Run, card: str) -> list[str]:
    """Say where fewer or other records were judged than the card's split has: published numbers are then of others."""
    facts = load_card(card).splits.get(_split(run)) if card else None
    wanted = facts.options.get("counts", {}).get(run.evaluation.evaluation.split) if facts else None
    judged = 0
    with suppress(DataError, OSError):  # without a record nobody knows: a metric's n is of those with a label of it
        record = Record.read(Path(run.evaluation.out) / "evaluation.json")
        judged = sum(part.records for part in record.cohort.splits if part.name == record.data.judged)
        judged -= sum(record.data.left_out.values())
    if wanted is None or not judged or judged == wanted:
        return []
    return [f"{judged:,} records were judged, the published split has {wanted:,}: mind it beside published numbers."]


def _split(run: Run) -> str:
    """The name of a published split, else the rule that draws one."""
    split = run.evaluation.data.split
    return str(split.get("split", "official")) if split["name"] == "published" else str(split["name"])

"""From the runs of a suite to its table and page."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from medvlp.runs.grid.suite import SuitePlan, SuiteRun, load_suite
from medvlp.runs.grid.suite_runs import LOG, carry_out, standing
from medvlp.core.errors import UserError
from medvlp.core.files import sha256_of, write_json, write_text
from medvlp.data.cards import cards, load_card
from medvlp.data.reproduction import claims_on, load_reproduction
from medvlp.pages.suite import render_suite
from medvlp.evaluation.results import AVERAGES, Result, load_result
from medvlp.evaluation.suite import (
    Suite,
    SuiteLine,
    SuiteNumber,
    Wanted,
    published_rows,
    published_table,
    suite_numbers,
    suite_table,
    suite_text,
)
from medvlp.evaluation.tables import to_csv, to_markdown

__all__ = ["Suited", "evaluate_suite", "write_suite_table"]

_GALLERY = "gallery"


@dataclass(frozen=True)
class Suited:
    """What a suite left.

    Attributes:
        page: HTML; None where no run is finished.
        suite: the numbers.
        failed: runs that failed, with their sentence.
        left_out: runs without data, with their sentence.
    """

    page: Path | None
    suite: Suite
    failed: tuple[str, ...]
    left_out: tuple[str, ...]


def evaluate_suite(
    path: str | Path,
    words: Sequence[str] = (),
    *,
    jobs: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> Suited:
    """Judge a bundle on every data set of a suite that is not judged yet, then make the table.

    Args:
        path: configuration of the suite.
        words: ``key.path=value``, see `medvlp.runs.grid.suite.load_suite`.
        jobs: data sets at a time, each in a process.
        say: told of each run.

    Raises:
        UserError: for a fault of the configuration, before anything runs; not for a run that fails.
    """
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}: give 1 or more processes.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("A suite starts processes of its own: leave torchrun out, and give --jobs where there is room.")
    plan = load_suite(path, words)
    if plan.config.reproduces is not None:
        load_reproduction(plan.config.reproduces)  # a wrong name is told before hours of work
    write_json(plan.out / "suite.json", plan.config.model_dump(mode="json"))
    carry_out(plan, jobs=jobs, say=say)
    return write_suite_table(plan)


def write_suite_table(plan: SuitePlan) -> Suited:
    """Make ``table.json``, ``.md``, ``.csv`` and ``.html`` of the runs that are finished; none where none is."""
    lines: list[SuiteLine] = []
    numbers: list[SuiteNumber] = []
    for run in plan.runs:
        results = _results(run) if standing(run).state == "finished" else {}
        lines.append(_line(run, results, plan))
        if results:
            wanted = [Wanted(**each.model_dump()) for each in run.config.report]
            numbers += suite_numbers(run.name, wanted, results, run.config.evaluation.split)
    reproduces = plan.config.reproduces or ""
    published = [
        row
        for line in lines
        if line.state == "finished"
        for row in published_rows(line, numbers, claims_on(line.card), reproduces=reproduces)
    ]
    suite = Suite(
        title=plan.title,
        model=plan.config.model,
        bundle=plan.bundle,
        reproduces=reproduces,
        lines=tuple(lines),
        numbers=tuple(numbers),
        published=tuple(published),
    )
    failed = tuple(
        f"{line.name}: {line.reason} ({plan.out / line.folder / LOG})" for line in lines if line.state == "failed"
    )
    left_out = tuple(f"{run.name}: {run.absent}" for run in plan.runs if run.absent)
    if not numbers:
        return Suited(None, suite, failed, left_out)
    write_text(plan.out / "table.json", suite_text(suite))
    tables = [suite_table(suite), *([published_table(suite)] if suite.published else [])]
    write_text(plan.out / "table.md", "\n".join(map(to_markdown, tables)))
    write_text(plan.out / "table.csv", to_csv(tables[0]))
    page = plan.out / "table.html"
    write_text(page, render_suite(suite))
    return Suited(page, suite, failed, left_out)


def _results(run: SuiteRun) -> dict[str, tuple[Result, str]]:
    paths = [path for path in sorted((run.folder / "results").glob("*.json")) if path.stem != _GALLERY]
    return {path.stem: (load_result(path, cases=False), sha256_of(path)) for path in paths}


def _line(run: SuiteRun, results: dict[str, tuple[Result, str]], plan: SuitePlan) -> SuiteLine:
    found, card = standing(run), _card(run)
    some = [result for result, _ in results.values()]
    facts: dict[str, Any] = {}
    if some:
        facts = {
            "recipe": some[0].recipe,
            "data": some[0].data,
            "split_hash": some[0].split,
            "synthetic": any(result.synthetic for result in some),
            "caveats": tuple(dict.fromkeys([*_part(run, card, some), *_caveats(run, results)])),
        }
    return SuiteLine(
        name=run.name,
        config=run.source,
        card=card,
        title=load_card(card).title if card else "",
        split=f"{_split(run)}, {run.config.evaluation.split}",
        folder=run.folder.relative_to(plan.out).as_posix(),
        state=found.state,
        reason=found.reason,
        seconds=found.seconds,
        code=found.code,
        **facts,
    )


def _caveats(run: SuiteRun, results: dict[str, tuple[Result, str]]) -> list[str]:
    """Caveats of the results that the table reports; the run's own page has those of all."""
    asked = [each.result for each in run.config.report]
    some = [found for name, (found, _) in results.items() if any(fnmatchcase(name, each) for each in asked)]
    return [text for found in some for text in found.caveats]


def _part(run: SuiteRun, card: str, results: Sequence[Result]) -> list[str]:
    """Say where fewer or other records were judged than the card's split has: published numbers are then of others."""
    facts = load_card(card).splits.get(_split(run)) if card else None
    wanted = facts.options.get("counts", {}).get(run.config.evaluation.split) if facts else None
    rows = [row for result in results for row in result.metrics if row.metric == "auroc" and row.label not in AVERAGES]
    judged = max((row.counts.n for row in rows), default=0)
    if wanted is None or not judged or judged == wanted:
        return []
    return [f"{judged:,} records were judged, the published split has {wanted:,}: mind it beside published numbers."]


def _card(run: SuiteRun) -> str:
    data = run.config.data
    named = (data.split.get("card"), None if data.layout is None else data.layout.get("name"))
    return next((str(name) for name in named if name in cards()), "")


def _split(run: SuiteRun) -> str:
    """The name of a published split, else the rule that draws one."""
    split = run.config.data.split
    return str(split.get("split", "official")) if split["name"] == "published" else str(split["name"])

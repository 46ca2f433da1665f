"""From the runs of a sweep to its table and page."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medvlp.runs.grid.sweep import Plan, Run, changes_of, load_sweep
from medvlp.runs.grid.sweep_runs import LOG, carry_out, result_folder, standing
from medvlp.core.errors import UserError
from medvlp.core.files import write_json, write_text
from medvlp.core.provenance import code_hash
from medvlp.evaluation.cells import CellFacts, RunFacts, Table
from medvlp.evaluation.cells_table import make_table
from medvlp.evaluation.cells_text import csv_text, document, markdown
from medvlp.pages.sweep import SweepPage, render_sweep

__all__ = ["Swept", "plan_lines", "sweep", "write_table"]

_CHANGES = 3  # told of a cell that was configured otherwise


@dataclass(frozen=True)
class Swept:
    """What a sweep left.

    Attributes:
        page: HTML; None where no run is finished.
        table: the numbers.
        runs: how many the sweep has.
        failed: runs that failed, with their sentence.
        unfinished: runs that are neither finished nor failed.
    """

    page: Path | None
    table: Table | None
    runs: int
    failed: tuple[str, ...]
    unfinished: tuple[str, ...]


def sweep(
    path: str | Path,
    words: Sequence[str] = (),
    *,
    out: Path | None = None,
    jobs: int = 1,
    only_table: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Swept:
    """Run what is missing of a sweep, then make its table.

    Args:
        path: configuration of the sweep.
        words: ``key.path=value``, see `load_sweep`.
        out: folder.
        jobs: runs at a time, each a process.
        only_table: run nothing.
        say: told of each run.

    Raises:
        UserError: for a fault of the configuration, before anything runs; not for a run that fails.
    """
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}: give 1 or more processes.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("A sweep starts processes of its own: leave torchrun out, and give --jobs where there is room.")
    plan = load_sweep(path, words, out=out)
    for line in _changed(plan):
        say(line)
    if not only_table:
        write_json(plan.out / "sweep.json", plan.config.model_dump(mode="json"))
        carry_out(plan, jobs=jobs, say=say)
    return write_table(plan)


def write_table(plan: Plan) -> Swept:
    """Make ``table.json``, ``.md``, ``.csv`` and ``.html`` of the runs that are finished; none where none is."""
    cells = [
        CellFacts(
            name=cell.name,
            labels=cell.labels,
            identity=cell.identity,
            runs=tuple(_facts(run, plan) for run in cell.runs),
        )
        for cell in plan.cells
    ]
    runs = [(f"{cell.name}, seed {run.seed}", run) for cell in cells for run in cell.runs]
    failed = tuple(
        f"{name}: {run.reason} ({plan.out / run.folder / LOG})" for name, run in runs if run.state == "failed"
    )
    left = tuple(name for name, run in runs if run.state not in ("finished", "failed"))
    if len(failed) + len(left) == len(runs):
        return Swept(None, None, len(runs), failed, left)
    table = make_table(
        cells,
        plan.config.measures,
        title=plan.title,
        reference=plan.reference,
        level=plan.config.level,
        resamples=plan.config.resamples,
    )
    write_json(plan.out / "table.json", document(table))
    write_text(plan.out / "table.md", markdown(table))
    write_text(plan.out / "table.csv", csv_text(table))
    page = plan.out / "table.html"
    write_text(page, render_sweep(_page(plan, table)))
    return Swept(page, table, len(runs), failed, left)


def plan_lines(plan: Plan) -> list[str]:
    """Return a sweep in words: each cell, its folder and how far its runs came."""
    lines = [f"{len(plan.cells)} cells x {len(plan.config.seeds)} seeds in {plan.out}"]
    for cell in plan.cells:
        states = [standing(run, plan).state for run in cell.runs]
        came = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        mark = " (reference)" if cell.name == plan.reference else ""
        lines.append(f"  {cell.name}{mark}: {came}; {cell.folder.relative_to(plan.out)}")
    lines += [f"  reports {measure.name}" for measure in plan.config.measures]
    return [*lines, *_changed(plan)]


def _changed(plan: Plan) -> list[str]:
    lines = []
    for cell in plan.cells:
        if cell.folder.exists():
            continue
        for folder, changes in changes_of(cell):
            more = f" and {len(changes) - _CHANGES} more" if len(changes) > _CHANGES else ""
            what = f" ({'; '.join(changes[:_CHANGES])}{more})" if changes else ""
            lines.append(
                f"{cell.name}: its configuration changed since {folder} was made{what}; it is another cell now and is "
                "run anew, the old one stays."
            )
    return lines


def _facts(run: Run, plan: Plan) -> RunFacts:
    found = standing(run, plan)
    return RunFacts(
        seed=run.seed,
        folder=run.folder.relative_to(plan.out).as_posix(),
        state=found.state,
        reason=found.reason,
        seconds=found.seconds,
        code=found.code,
        results={measure.split: result_folder(run, plan, measure.split) for measure in plan.config.measures},
    )


def _page(plan: Plan, table: Table) -> SweepPage:
    config = plan.config
    facts: dict[str, object] = {"base": config.base, "seeds": ", ".join(map(str, config.seeds))}
    if config.overrides:
        facts["overrides"] = _settings(config.overrides)
    facts |= {"reference": plan.reference or "none", "patient resamples": table.resamples}
    facts |= {"comparisons corrected together": table.comparisons, "code that made the table": code_hash()}
    axes = {
        axis: {choice.label: _settings(choice.overrides) or "as the base says" for choice in choices}
        for axis, choices in config.axes.items()
    }
    return SweepPage(table=table, facts=facts, axes=axes)


def _settings(overrides: dict[str, object]) -> str:
    return ", ".join(
        f"{path}={json.dumps(value, ensure_ascii=False, default=str)}" for path, value in overrides.items()
    )

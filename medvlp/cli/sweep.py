"""``medvlp sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medvlp.runs.grid.table import Outcome


def sweep(
    config: Annotated[str, typer.Argument(help="A sweep: a YAML file, or the name of one in configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key.path=value, of the sweep (seeds=[0,1]) or of every run.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: runs/sweep/NAME.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each a process; they share the cores.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, print the cells, run nothing.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Run nothing, make the table of what is finished.")] = False,
) -> None:
    """Train and judge a configuration in many variants and seeds. Then compare them in one table with intervals.

    What is finished is not run again, what was killed goes on. A run that fails is listed and the rest go on; then the
    exit code is 1.
    """
    from medvlp.core.errors import UserError
    from medvlp.runs.grid.sweep import load_sweep
    from medvlp.runs.grid.table import plan_lines
    from medvlp.runs.grid.table import sweep as run

    if dry_run:
        for line in plan_lines(load_sweep(config, overrides or [], out=out)):
            typer.echo(line)
        return
    done = run(config, overrides or [], out=out, jobs=jobs, only_table=table)
    if done.page is None and not done.failed:
        raise UserError("No run of this sweep is finished, so there is no table: leave --table out to run them.")
    if done.page is not None and done.unfinished:
        typer.echo(f"Not finished, and not in the table: {'; '.join(done.unfinished)}.", err=True)
    end_grid(done, rest=", there is no table" if done.page is None else ", the table has the others")


def show_left_out(done: Outcome[Any]) -> None:
    """Name the runs of a suite whose data is not there."""
    for line in done.left_out:
        typer.echo(f"Left out, {line}", err=True)


def end_grid(done: Outcome[Any], *, rest: str) -> None:
    """Say where the table of a sweep or suite is and what failed; exit 1 if anything did.

    Args:
        done: what it left.
        rest: what became of the rest, for the sentence about failures.
    """
    show_left_out(done)
    if done.page is not None:
        typer.echo(f"Open {done.page}; the numbers are beside it in table.json, table.md, table.tex and table.csv.")
    for line in done.failed:
        typer.echo(line, err=True)
    if done.failed:
        typer.echo(
            f"medvlp: {len(done.failed)} of {done.runs} runs failed{rest}: mend what is said above and start the same "
            "command again; finished runs are kept.",
            err=True,
        )
        raise typer.Exit(1)

"""``medvlp sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["sweep"]


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
    """Train and judge one configuration in many variants and seeds, then compare them in one table with intervals.

    What is finished is not run again, what was killed goes on. A run that fails is listed and the rest go on; then the
    exit code is 1.
    """
    from medvlp.core.errors import UserError
    from medvlp.runs.grid.sweep import load_sweep
    from medvlp.runs.grid.sweep_table import plan_lines
    from medvlp.runs.grid.sweep_table import sweep as run

    if dry_run:
        for line in plan_lines(load_sweep(config, overrides or [], out=out)):
            typer.echo(line)
        return
    done = run(config, overrides or [], out=out, jobs=jobs, only_table=table, say=typer.echo)
    if done.page is not None:
        typer.echo(f"Open {done.page}; the numbers are beside it in table.json, table.md and table.csv.")
    elif not done.failed:
        raise UserError("No run of this sweep is finished, so there is no table: leave --table out to run them.")
    for line in done.failed:
        typer.echo(line, err=True)
    if done.failed:
        has = "there is no table" if done.page is None else "the table has the others"
        typer.echo(
            f"medvlp: {len(done.failed)} of {done.runs} runs failed, {has}: mend what is said above and start the same "
            "command again; finished runs are kept.",
            err=True,
        )
        raise typer.Exit(1)

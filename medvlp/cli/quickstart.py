"""``medvlp quickstart``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Configuration, patients, and what was measured on two idle cores.
QUICK = ("pretrain/phantom_quick.yaml", 900, "about 6 minutes")
FULL = ("pretrain/phantom_full.yaml", 2500, "about 18 minutes")


def quickstart(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the hospital, the run and the page; runs/quickstart, or runs/quickstart_full."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="The longer recipe on more patients, for a better model.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Draws another hospital and another training.")] = 0,
    patients: Annotated[int | None, typer.Option(min=1, help="Synthetic patients; 900, with --full 2500.")] = None,
    config: Annotated[str | None, typer.Option(help="Of the training; default: the quick start's or --full's.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value, as for train.")] = None,
) -> None:
    """Make a synthetic hospital, train, evaluate, write report.html. A second run goes on where one stopped."""
    usual, people, minutes = FULL if full else QUICK
    out = out or Path("runs/quickstart_full" if full else "runs/quickstart")
    people = patients or people
    typer.echo(
        f"A hospital of {people} synthetic patients in {out}, a model trained on it, a report on patients that it has "
        f"not seen{'' if config or patients else f': {minutes} on two idle cores'}.\n"
        "It may be interrupted: the same command goes on where it stopped."
    )
    from medvlp.runs.quickstart import run_quickstart  # torch; the lines above come at once

    page = run_quickstart(out, seed=seed, patients=people, config=config or usual, overrides=overrides or [])
    typer.echo(f"Open {page}")

"""``medvlp quickstart``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["quickstart"]


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for the hospital, the run and the page.")] = Path("runs/quickstart"),
    seed: Annotated[int, typer.Option(help="Draws another hospital and another training.")] = 0,
    patients: Annotated[
        int | None, typer.Option(help="Synthetic patients; default: as the configuration needs.")
    ] = None,
    config: Annotated[str, typer.Option(help="Configuration of the training.")] = "pretrain/phantom_clip.yaml",
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value, as for train.")] = None,
) -> None:
    """Make a synthetic hospital, train on it, evaluate, write report.html; a second run goes on where one stopped."""
    from medvlp.config.quickstart import run_quickstart

    page = run_quickstart(out, seed=seed, patients=patients, config=config, overrides=overrides or [], say=typer.echo)
    typer.echo(f"Open {page}")

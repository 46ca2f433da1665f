"""``medvlp train``."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[str | None, typer.Argument(help="A YAML file, or the name of one in configs/.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value ...")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build, run one batch, print the plan, change nothing.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a configuration, for editors, and end.")
    ] = False,
) -> None:
    """Train a model; also under torchrun. A run folder that has checkpoints goes on from the newest."""
    from medvlp.config.recipe import resumed
    from medvlp.config.tree import load_config
    from medvlp.core.errors import UserError
    from medvlp.runs.train import dry_run as rehearse
    from medvlp.runs.train import train as run

    if schema:
        from medvlp.config.schema import config_schema

        typer.echo(json.dumps(config_schema(), indent=2))
        return
    if resume is not None:
        if config is not None and "=" not in config:
            raise UserError(f"--resume {resume} goes on with its own configuration: leave {config} out.")
        tree = resumed(resume, [*([config] if config else []), *(overrides or [])])
    elif config is not None:
        tree = load_config(config, overrides or [])
    else:
        raise UserError("Name a configuration, e.g. pretrain/phantom_clip.yaml, or --resume RUN.")
    if dry_run:
        typer.echo(rehearse(tree))
        return
    done = run(tree)
    if os.environ.get("RANK", "0") != "0":  # of torchrun: the first process speaks for all
        return
    if done.complete:
        typer.echo(f"{done.run} is complete, {done.outcome.samples_seen} samples; nothing was done.")
    else:
        typer.echo(f"Released {done.bundle} after {done.outcome.samples_seen} samples.")
    words = f"model={done.bundle}", f"out={done.run}", f"data.manifest={done.run}/manifest.parquet"
    own, bundle = shlex.join(words), shlex.quote(str(done.bundle))
    typer.echo(f"Judge it: medvlp evaluate evaluate/run.yaml {own}. Use it: medvlp predict {bundle} FILES.")

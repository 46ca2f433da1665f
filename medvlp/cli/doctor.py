"""``medvlp doctor``."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    plan: Annotated[
        str | None, typer.Option("--plan", help="A training's YAML file: measure steps, print memory and hours.")
    ] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value ... of --plan.")] = None,
    gpus: Annotated[int, typer.Option(min=1, help="With --plan: most processes, each with a device.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="With --plan: one JSON document.")] = False,
) -> None:
    """Show versions, device, decoders and cache, for a bug report. Nothing in it names a patient.

    With --plan it takes a few small steps of a training here and works out what the whole will cost.
    """
    if plan is None:
        from medvlp.core.errors import UserError
        from medvlp.runs.doctor import checks

        if overrides or json or gpus != 1:
            raise UserError("Overrides, --gpus and --json belong to --plan CONFIG: name a training's configuration.")
        for name, value in checks():
            typer.echo(f"{name:24}{value}")
        return
    from dataclasses import asdict
    from json import dumps

    from medvlp.config.tree import load_config
    from medvlp.runs.plan import plan as planned

    found = planned(load_config(plan, overrides or []), most=gpus)
    typer.echo(dumps(asdict(found), indent=2) if json else found.text())

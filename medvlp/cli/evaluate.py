"""``medvlp evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["evaluate"]


def evaluate(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of one in configs/.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.path=value ...")] = None,
) -> None:
    """Judge a model on a data set: results.json with intervals, per-case predictions, report.html."""
    from medvlp.config.evaluate import evaluate as run
    from medvlp.config.evaluate import load_evaluation

    done = run(load_evaluation(config, overrides or []), say=lambda text: typer.echo(text, err=True))
    for result in done.found.values():
        for flag in result.flags:
            typer.echo(f"Flag, {result.title or result.name}: {flag.sentence}")
    typer.echo(f"Open {done.page}; the numbers are in {done.results}.")

"""``medvlp predict``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["predict"]


def predict(
    model: Annotated[Path, typer.Argument(help="A bundle.")],
    paths: Annotated[list[Path], typer.Argument(help="Images.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="How scores are made: zero_shot, existence (MeDSLIP), a file of configs/zero_shot/recipes, a "
            "component, a path; default: what the model offers."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Score images for the findings of a model; the scores are not calibrated probabilities."""
    from medvlp.models.gate import REASONS
    from medvlp.prediction.files import predict_files
    from medvlp.prediction.model import load

    found = predict_files(load(model), paths, recipe=recipe, name=str(model))
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        for result in found["results"]:
            typer.echo(f"{result['path']}")
            if result.get("abstained"):
                why = "; ".join(REASONS[word] for word in result["ood"]["reasons"])
                typer.echo(f"  not scored: unlike the pictures that this model was trained on ({why})")
            else:
                _show_scores(result)
            for warning in result["warnings"]:
                typer.echo(f"  note: {warning}")
        typer.echo("Scores are not calibrated.")


def _show_scores(result: Mapping[str, Any]) -> None:
    for label, score in sorted(result["scores"].items(), key=lambda item: -item[1]):
        typer.echo(f"  {label:20}{score:.3f}")
    for pair in result.get("pairs", ())[:10]:
        where, what = pair["anatomy"].replace("_", " "), pair["observation"].replace("_", " ")
        typer.echo(f"  {what} at {where}: {pair['score']:.2f}")

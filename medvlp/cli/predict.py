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
    paths: Annotated[
        list[Path],
        typer.Argument(help="Images; for a model of stacks volumes, or folders with the pictures of a study."),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="How scores are made: zero_shot, existence (MeDSLIP), a file of configs/zero_shot/recipes, a "
            "component, a path; default: what the model offers."
        ),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures of where a MeDSLIP model looked for what it states, at the files' size."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Score images for the findings of a model: calibrated probabilities where the bundle holds a calibration."""
    from medvlp.models.gate import REASONS
    from medvlp.answers.asking.files import predict_files
    from medvlp.answers.asking.model import load

    found = predict_files(load(model), paths, recipe=recipe, name=str(model), maps=maps)
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
        typer.echo(_told(found["results"]))


def _show_scores(result: Mapping[str, Any]) -> None:
    for label, score in sorted(result["scores"].items(), key=lambda item: -item[1]):
        typer.echo(f"  {label:20}{score:.3f}{_said(result, label)}")
    for pair in result.get("pairs", ())[:10]:
        where, what = pair["anatomy"].replace("_", " "), pair["observation"].replace("_", " ")
        drawn = f"  ({pair['map']})" if "map" in pair else ""
        typer.echo(f"  {what} at {where}: {pair['score']:.2f}{drawn}")
    if "slices" in result:
        told = result["slices"]
        typer.echo(f"  slice {told['heaviest']} of {told['count']} counts most: {told['weight']:.2f}")


def _said(result: Mapping[str, Any], label: str) -> str:
    category = result.get("category", {}).get(label)
    words = [category] if category else []
    if label in result.get("uncalibrated", ()):
        words.append("not calibrated")
    return f"  {', '.join(words)}" if words else ""


def _told(results: list[dict[str, Any]]) -> str:
    if not any("raw_scores" in result for result in results):
        return "Scores are not calibrated."
    return (
        "Probabilities and categories rest on the validation patients of the model: "
        "they hold for patients like those, at their prevalence."
    )

"""Scores of single files, in the form that ``medvlp predict --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvlp.core.errors import ConfigError
from medvlp.core.suggest import did_you_mean
from medvlp.prediction.findings import find, mounted_streams
from medvlp.prediction.model import Prepared, VisionLanguageModel

__all__ = ["RECIPES", "predict_files"]

RECIPES = ("zero_shot", "existence")


def predict_files(
    model: VisionLanguageModel, paths: Sequence[Path], *, recipe: str | None = None, name: str = ""
) -> dict[str, Any]:
    """Score files.

    Args:
        model: a loaded bundle.
        paths: images; the first that cannot be read stops the call.
        recipe: how scores are made: ``zero_shot`` compares with the bundle's prompt pairs; ``existence`` asks a
            dual-stream model for its findings, and adds ``pairs``, what lies where; None: ``zero_shot`` where the
            bundle has prompts, else ``existence``.
        name: of the model, for the output.

    Returns:
        ``{"model", "recipe", "results": [{"path", "scores", "calibrated", "warnings"}]}``.

    Raises:
        ConfigError: for an unknown recipe.
        UnreadableImage: if a file cannot be read.
    """
    if recipe is None:
        asked = not model.bundle.zero_shot and mounted_streams(model.model) is not None
        recipe = "existence" if asked else "zero_shot"
    if recipe not in RECIPES:
        raise ConfigError(f"There is no recipe {recipe!r}: {did_you_mean(recipe, RECIPES)}.")
    prepared = [model.prepare(path) for path in paths]
    said = _existence(model, prepared) if recipe == "existence" else _zero_shot(model, prepared)
    results = [
        {"path": str(path), **each, "calibrated": False, "warnings": list(picture.warnings)}
        for path, picture, each in zip(paths, prepared, said, strict=True)
    ]
    return {"model": name, "recipe": recipe, "results": results}


def _zero_shot(model: VisionLanguageModel, prepared: Sequence[Prepared]) -> list[dict[str, Any]]:
    scores = model.zero_shot.scores(model.embed_prepared([each.pixels for each in prepared]))
    return [
        {"scores": {label: round(float(s), 6) for label, s in zip(model.zero_shot.labels, row, strict=True)}}
        for row in scores
    ]


def _existence(model: VisionLanguageModel, prepared: Sequence[Prepared]) -> list[dict[str, Any]]:
    found = find(model.model, [each.pixels for each in prepared])
    return [
        {
            "scores": {name: round(score, 6) for name, score in found.scores(i).items()},
            "pairs": [
                {"observation": pair.observation, "anatomy": pair.anatomy, "score": round(pair.score, 6)}
                for pair in found.stated(i, most=50)
            ],
        }
        for i in range(len(prepared))
    ]

"""Scores of single files, in the form that ``medvlp predict --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvlp.core.errors import ConfigError
from medvlp.core.suggest import did_you_mean
from medvlp.prediction.model import VisionLanguageModel

__all__ = ["RECIPES", "predict_files"]

RECIPES = ("zero_shot",)


def predict_files(
    model: VisionLanguageModel, paths: Sequence[Path], *, recipe: str = "zero_shot", name: str = ""
) -> dict[str, Any]:
    """Score files.

    Args:
        model: a loaded bundle.
        paths: images; the first that cannot be read stops the call.
        recipe: how scores are made of embeddings: ``zero_shot`` uses the bundle's prompt pairs.
        name: of the model, for the output.

    Returns:
        ``{"model", "recipe", "results": [{"path", "scores", "calibrated", "warnings"}]}``.

    Raises:
        ConfigError: for an unknown recipe.
        UnreadableImage: if a file cannot be read.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"There is no recipe {recipe!r}: {did_you_mean(recipe, RECIPES)}.")
    prepared = [model.prepare(path) for path in paths]
    scores = model.zero_shot.scores(model.embed_prepared([each.pixels for each in prepared]))
    results = [
        {
            "path": str(path),
            "scores": {label: round(float(s), 6) for label, s in zip(model.zero_shot.labels, row, strict=True)},
            "calibrated": False,
            "warnings": list(each.warnings),
        }
        for path, each, row in zip(paths, prepared, scores, strict=True)
    ]
    return {"model": name, "recipe": recipe, "results": results}

"""Scores of single files, in the form that ``medvlp predict --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvlp.prediction.model import VisionLanguageModel, prompt_sets
from medvlp.prediction.recipe_files import OWN, load_recipe
from medvlp.prediction.recipe_scores import BATCH_SENTENCE, recipe_scores

__all__ = ["predict_files"]


def predict_files(
    model: VisionLanguageModel, paths: Sequence[Path], *, recipe: str = OWN, name: str = ""
) -> dict[str, Any]:
    """Score files.

    Args:
        model: a loaded bundle.
        paths: images; the first that cannot be read stops the call.
        recipe: how scores are made of embeddings, see `medvlp.prediction.recipe_files.load_recipe`: ``zero_shot`` uses
            the bundle's prompt pairs.
        name: of the model, for the output.

    Returns:
        ``{"model", "recipe", "results": [{"path", "scores", "calibrated", "warnings"}]}``.

    Raises:
        ConfigError: for an unknown recipe, or one that this model cannot serve.
        DataError: if the recipe has no score for these images.
        UnreadableImage: if a file cannot be read.
    """
    chosen = load_recipe(recipe, own=prompt_sets(model.bundle))
    prepared = [model.prepare(path) for path in paths]
    scores = recipe_scores(model, chosen, [each.pixels for each in prepared])
    told = [BATCH_SENTENCE.format(name=chosen.name)] if chosen.recipe.batch_dependent else []
    results = [
        {
            "path": str(path),
            "scores": {each.label: round(float(s), 6) for each, s in zip(chosen.prompts, row, strict=True)},
            "calibrated": False,
            "warnings": [*each.warnings, *told],
        }
        for path, each, row in zip(paths, prepared, scores, strict=True)
    ]
    return {"model": name, "recipe": chosen.name, "results": results}

"""Scores of single files, in the form that ``medvlp predict --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvlp.prediction.findings import find, mounted_streams
from medvlp.prediction.model import Prepared, VisionLanguageModel, prompt_sets
from medvlp.prediction.recipe_files import OWN, load_recipe
from medvlp.prediction.recipe_scores import BATCH_SENTENCE, recipe_scores

__all__ = ["EXISTENCE", "predict_files"]

#: a dual-stream model is asked for its own findings, no text is compared
EXISTENCE = "existence"


def predict_files(
    model: VisionLanguageModel, paths: Sequence[Path], *, recipe: str | None = None, name: str = ""
) -> dict[str, Any]:
    """Score files.

    Args:
        model: a loaded bundle.
        paths: images; the first that cannot be read stops the call.
        recipe: how scores are made, see `medvlp.prediction.recipe_files.load_recipe`: ``zero_shot`` uses the bundle's
            prompt pairs; ``existence`` asks a dual-stream model for its findings, and adds ``pairs``, what lies where;
            None: ``zero_shot`` where the bundle has prompts, else ``existence``.
        name: of the model, for the output.

    Returns:
        ``{"model", "recipe", "results": [{"path", "scores", "calibrated", "warnings"}]}``; of a bundle with a gate each
        result also has ``abstained`` and ``ood``: ``{"flagged", "score", "reasons"}``, flagged where the score is above
        1 or the picture blank. The scores of a flagged picture mean nothing; they are given so that it can be studied.

    Raises:
        ConfigError: for an unknown recipe, or one that this model cannot serve.
        DataError: if the recipe has no score for these images.
        UnreadableImage: if a file cannot be read.
    """
    if recipe is None:
        asked = not model.bundle.zero_shot and mounted_streams(model.model) is not None
        recipe = EXISTENCE if asked else OWN
    if recipe == EXISTENCE:
        prepared = [model.prepare(path) for path in paths]
        said, told, used = _existence(model, prepared), [], EXISTENCE
    else:
        chosen = load_recipe(recipe, own=prompt_sets(model.bundle))
        prepared = [model.prepare(path) for path in paths]
        scores = recipe_scores(model, chosen, [each.pixels for each in prepared])
        labels = [each.label for each in chosen.prompts]
        said = [{"scores": {label: round(float(s), 6) for label, s in zip(labels, row, strict=True)}} for row in scores]
        told = [BATCH_SENTENCE.format(name=chosen.name)] if chosen.recipe.batch_dependent else []
        used = chosen.name
    results = [
        {
            "path": str(path),
            **each,
            **_judged(model, picture),
            "calibrated": False,
            "warnings": [*picture.warnings, *told],
        }
        for path, picture, each in zip(paths, prepared, said, strict=True)
    ]
    return {"model": name, "recipe": used, "results": results}


def _judged(model: VisionLanguageModel, picture: Prepared) -> dict[str, Any]:
    """What the bundle's gate says of a picture; nothing where it has none."""
    verdict = model.judge(picture)
    if verdict is None:
        return {}
    told = {"flagged": verdict.flagged, "score": round(verdict.score, 4), "reasons": list(verdict.reasons)}
    return {"abstained": verdict.flagged, "ood": told}


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

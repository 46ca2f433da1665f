"""Scores of single files, in the form that ``medvlp predict --json`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvlp.prediction.decisions import Decisions, read_decisions
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
        ``{"model", "recipe", "results": [{"path", "scores", "calibrated", "warnings"}]}``. Where the bundle holds a
        calibration for the recipe, `scores` are probabilities of those findings that it covers, ``raw_scores`` are what
        they were made of, ``category`` says ``present``, ``absent`` or ``indeterminate`` by the bundle's conformal
        sets, and `calibrated` is true where every score is a probability; ``uncalibrated`` names those that are not.

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
    decisions = read_decisions(model.bundle.operating_points, model.bundle.calibration)
    if decisions.recipe == used:
        said = [{**each, **_decided(decisions, each["scores"])} for each in said]
    results = [
        {"path": str(path), "calibrated": False, **each, "warnings": [*picture.warnings, *told]}
        for path, picture, each in zip(paths, prepared, said, strict=True)
    ]
    return {"model": name, "recipe": used, "results": results}


def _decided(decisions: Decisions, scores: Mapping[str, float]) -> dict[str, Any]:
    """Return scores as probabilities where they are calibrated, and what each finding is said to be."""
    found = {name: decisions.probability(name, score) for name, score in scores.items()}
    missing = [name for name, value in found.items() if value is None]
    categories = {name: decisions.category(name, score) for name, score in scores.items()}
    return {
        "scores": {name: scores[name] if value is None else round(value, 6) for name, value in found.items()},
        "calibrated": not missing,
        **({"uncalibrated": missing} if missing else {}),
        "raw_scores": dict(scores),
        "category": {name: value for name, value in categories.items() if value is not None},
    }


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

"""Scores of single files, in the form that ``medvlp predict --json`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medvlp.core.sample import Stack
from medvlp.prediction.decisions import Decisions, read_decisions
from medvlp.prediction.findings import Pair, find, mounted_streams
from medvlp.prediction.maps import draw_maps, require_maps
from medvlp.prediction.model import Prepared, VisionLanguageModel, prompt_sets
from medvlp.prediction.recipe_files import OWN, NamedRecipe, load_recipe
from medvlp.prediction.recipe_scores import BATCH_SENTENCE, given_of, image_parts

__all__ = ["EXISTENCE", "predict_files"]

#: a dual-stream model is asked for its own findings, no text is compared
EXISTENCE = "existence"

_MOST_PAIRS = 50
_MOST_MAPS = 10  # as many pairs as the command prints


def predict_files(
    model: VisionLanguageModel,
    paths: Sequence[Path],
    *,
    recipe: str | None = None,
    name: str = "",
    maps: Path | None = None,
) -> dict[str, Any]:
    """Score files.

    Args:
        model: a loaded bundle.
        paths: images; of a model of stacks volumes, or folders with the pictures of a study. The first that cannot be
            read stops the call.
        recipe: how scores are made, see `medvlp.prediction.recipe_files.load_recipe`: ``zero_shot`` uses the bundle's
            prompt pairs; ``existence`` asks a dual-stream model for its findings, and adds ``pairs``, what lies where;
            None: ``zero_shot`` where the bundle has prompts, else ``existence``.
        name: of the model, for the output.
        maps: folder for a picture of each pair, where the model looked for it; with ``existence`` only.

    Returns:
        ``{"model", "recipe", "results": [{"path", "scores", "calibrated", "warnings"}]}``. Where the bundle holds a
        calibration for the recipe, `scores` are probabilities of those findings that it covers, ``raw_scores`` are what
        they were made of, ``category`` says ``present``, ``absent`` or ``indeterminate`` by the bundle's conformal
        sets, and `calibrated` is true where every score is a probability; ``uncalibrated`` names those that are not.
        Where the bundle has a gate also ``abstained``, and ``ood``: ``{"flagged", "score", "reasons"}``, flagged where
        the score is above 1 or the picture blank. The scores of a flagged picture mean nothing; they are given so that
        it can be studied.
        Of a model whose pooler weighs slices also ``slices``: how many there are, and the number (from 1), the place
        and the weight of the one that counts most.

    Raises:
        ConfigError: for an unknown recipe, or one that this model cannot serve.
        DataError: if the recipe has no score for these images.
        UnreadableImage: if a file cannot be read.
        UserError: if maps are asked for that the model or the recipe does not have.
    """
    if len(model.model.kinds) > 1:
        return _by_kind(model, paths, recipe=recipe, name=name, maps=maps)
    if recipe is None:
        asked = not model.bundle.zero_shot and mounted_streams(model.model) is not None
        recipe = EXISTENCE if asked else OWN
    if maps is not None:
        require_maps(model, recipe == EXISTENCE)
    reader = _Reader(model, paths)
    if recipe == EXISTENCE:
        (said, told), used = _existence(reader, maps), EXISTENCE
    else:
        chosen = load_recipe(recipe, own=prompt_sets(model.bundle))
        said, used = _scored(reader, chosen), chosen.name
        told = [BATCH_SENTENCE.format(name=used)] if chosen.recipe.batch_dependent else []
    decisions = read_decisions(model.bundle.operating_points, model.bundle.calibration)
    if decisions.recipe == used:
        said = [{**each, **_decided(decisions, each["scores"])} for each in said]
    results = [
        {"path": str(path), "calibrated": False, **each, **judged, "warnings": [*warnings, *told]}
        for path, warnings, judged, each in zip(paths, reader.warnings, reader.judged, said, strict=True)
    ]
    return {"model": name, "recipe": used, "results": results}


def _by_kind(
    model: VisionLanguageModel, paths: Sequence[Path], *, recipe: str | None, name: str, maps: Path | None
) -> dict[str, Any]:
    """Score files of several kinds, each as its own; the results stand in the order of the files."""
    kinds = [model.kind_of(path) for path in paths]
    said = {
        kind: predict_files(
            model.of_kind(kind),
            [path for path, own in zip(paths, kinds, strict=True) if own == kind],
            recipe=recipe,
            name=name,
            maps=maps,
        )
        for kind in dict.fromkeys(kinds)
    }
    rows = {kind: iter(each["results"]) for kind, each in said.items()}
    return {**next(iter(said.values())), "results": [next(rows[kind]) for kind in kinds]}


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


def _judged(model: VisionLanguageModel, picture: Prepared) -> dict[str, Any]:
    """Return what the bundle's gate says of a picture; nothing where it has none."""
    verdict = model.judge(picture)
    if verdict is None:
        return {}
    told = {"flagged": verdict.flagged, "score": round(verdict.score, 4), "reasons": list(verdict.reasons)}
    return {"abstained": verdict.flagged, "ood": told}


class _Reader:
    """Prepares files one group after the other: of many volumes only one is held at a time."""

    def __init__(self, model: VisionLanguageModel, paths: Sequence[Path]) -> None:
        self.model, self.paths = model, paths
        self.group = 1 if model.model.pictures == "stack" else 64
        self.warnings: list[tuple[str, ...]] = []
        self.judged: list[dict[str, Any]] = []
        self.places: list[Tensor] = []

    def pixels(self) -> Iterator[Tensor | Stack]:
        for path in self.paths:
            prepared = self.model.prepare(path)
            self.warnings.append(prepared.warnings)
            self.judged.append(_judged(self.model, prepared))
            if isinstance(prepared.pixels, Stack):
                self.places.append(prepared.pixels.position)
            yield prepared.pixels


def _scored(reader: _Reader, recipe: NamedRecipe) -> list[dict[str, Any]]:
    weights = reader.model.model.slice_weights
    more = () if weights is None else (weights,)
    parts = image_parts(reader.model, recipe, reader.pixels(), more=more, batch=reader.group)
    slices = (
        [] if weights is None else [_heaviest(*each) for each in zip(reader.places, parts.pop(weights), strict=True)]
    )
    scores = recipe.recipe.scores(given_of(reader.model, recipe, parts))
    labels = [each.label for each in recipe.prompts]
    said = [{"scores": {label: round(float(s), 6) for label, s in zip(labels, row, strict=True)}} for row in scores]
    return [{**each, "slices": told} for each, told in zip(said, slices, strict=True)] if slices else said


def _heaviest(place: Tensor, weights: np.ndarray) -> dict[str, Any]:
    number = int(weights[: len(place)].argmax())
    return {
        "count": len(place),
        "heaviest": number + 1,
        "weight": round(float(weights[number]), 6),
        "place_mm": [round(float(value), 3) for value in place[number]],
    }


def _existence(reader: _Reader, maps: Path | None) -> tuple[list[dict[str, Any]], list[str]]:
    model = reader.model
    found = find(model.model, reader.pixels(), batch=reader.group)
    said = []
    for i, path in enumerate(reader.paths):
        stated = found.stated(i, most=_MOST_PAIRS)
        pairs = [_plain(pair) for pair in stated]
        if maps is not None:
            drawn = draw_maps(model, path, stated[:_MOST_MAPS], maps, number=i + 1)
            for pair, each in zip(pairs, drawn, strict=False):  # further pairs have no map
                pair |= {"map": str(each.path), "peak": [round(value, 1) for value in each.peak]}
        said.append({"scores": {n: round(score, 6) for n, score in found.scores(i).items()}, "pairs": pairs})
    sentence = found.left_out()
    return said, [sentence] if sentence else []


def _plain(pair: Pair) -> dict[str, Any]:
    return {"observation": pair.observation, "anatomy": pair.anatomy, "score": round(pair.score, 6)}

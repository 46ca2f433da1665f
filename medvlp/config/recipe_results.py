"""What an evaluation adds to its zero-shot scores: other recipes, single prompts, sentences with one fact changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvlp.data.manifest import Manifest
from medvlp.data.prepare import Prepared
from medvlp.evaluation.image_retrieval import by_study, evaluate_image_retrieval
from medvlp.evaluation.prompt_sensitivity import evaluate_prompt_sensitivity
from medvlp.evaluation.results import Result
from medvlp.evaluation.sentence_check import evaluate_sentence_check, sentence_pairs
from medvlp.prediction.model import VisionLanguageModel, prompt_sets
from medvlp.prediction.recipe_files import NamedRecipe, load_recipe
from medvlp.prediction.recipe_scores import given_of, image_parts, single_prompt_scores
from medvlp.text.prompts import PromptSet

__all__ = ["Judged", "picture_results", "scores_of_recipe", "sensitivity", "sentences"]


@dataclass(frozen=True)
class Judged:
    """What these measures share.

    Attributes:
        model: at work.
        manifest: rows in the order of the embeddings.
        images: (N, D) unit embeddings, every one finite.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        recipe: hash of the evaluation.
        data: hash of the data.
        split: written into the rows.
        synthetic: the data is synthetic.
    """

    model: VisionLanguageModel
    manifest: Manifest
    images: np.ndarray
    seed: int
    resamples: int
    recipe: str
    data: str
    split: str
    synthetic: bool


def scores_of_recipe(
    name: str, model: VisionLanguageModel, images: np.ndarray, prepared: Prepared
) -> tuple[NamedRecipe, dict[str, np.ndarray]]:
    """Return a recipe and its scores by label.

    Args:
        name: of the recipe.
        model: at work.
        images: (N, D) stored embeddings, used where the recipe reads nothing else.
        prepared: the pictures, read again where it does.
    """
    recipe = load_recipe(name, own=prompt_sets(model.bundle))
    if recipe.recipe.image_parts == ("embedding",):
        parts: Mapping[str, np.ndarray] = {"embedding": images}
    else:
        pictures = model.model.pictures
        pixels = [prepared.sample(index).fields[pictures] for index in range(len(prepared))]
        parts = image_parts(model, recipe, pixels)  # pyrefly: ignore
    found = recipe.recipe.scores(given_of(model, recipe, parts))
    return recipe, {each.label: found[:, i] for i, each in enumerate(recipe.prompts)}


def sensitivity(judged: Judged, prompts: Sequence[PromptSet]) -> Result:
    """Return the AUROC of single prompts."""
    scores = single_prompt_scores(judged.images, prompts, judged.model.embed_text, scale=judged.model.scale)
    labels = {each.label: np.asarray(judged.manifest.column(f"label.{each.label}"), dtype=float) for each in prompts}
    return evaluate_prompt_sensitivity(
        scores,
        labels,
        judged.manifest.column("id.patient").tolist(),
        recipe=judged.recipe,
        data=judged.data,
        split=judged.split,
        synthetic=judged.synthetic,
    )


def sentences(judged: Judged, *, most: int) -> Result | None:
    """Return the check of sentences over the first studies; None where no sentence can be falsified."""
    near, first = by_study(judged.images, judged.manifest.column("id.study").tolist())
    kept = first[:most]
    reports = [text if isinstance(text, str) else "" for text in judged.manifest.column("text")[kept]]
    if not sentence_pairs(reports):
        return None
    return evaluate_sentence_check(
        near[:most],
        reports,
        judged.manifest.column("id.patient")[kept].tolist(),
        judged.model.embed_text,
        seed=judged.seed,
        resamples=judged.resamples,
        recipe=judged.recipe,
        data=judged.data,
        split=judged.split,
        synthetic=judged.synthetic,
    )


def picture_results(judged: Judged, labels: Sequence[str]) -> Result | None:
    """Return image -> image retrieval over studies; None where there is no other patient."""
    near, first = by_study(judged.images, judged.manifest.column("id.study").tolist())
    patients = judged.manifest.column("id.patient")[first]
    pool = len(first) - int(np.unique(patients, return_counts=True)[1].max(initial=0))
    ks = tuple(k for k in (1, 5, 10) if k <= pool)
    if not ks:
        return None
    table = np.stack([np.asarray(judged.manifest.column(f"label.{n}"), dtype=float)[first] for n in labels], axis=1)
    return evaluate_image_retrieval(
        near,
        table,
        patients.tolist(),
        ids=[str(each) for each in judged.manifest.column("id.study")[first]],
        ks=ks,
        seed=judged.seed,
        resamples=judged.resamples,
        recipe=judged.recipe,
        data=judged.data,
        split=judged.split,
        title="Image to image retrieval, equal labels",
        synthetic=judged.synthetic,
    )

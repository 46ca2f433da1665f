"""Zero-shot recipes that are judged beside the bundle's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from medvlp.answers.asking.model import prompt_sets
from medvlp.answers.prompting.recipe_files import NamedRecipe, load_recipe
from medvlp.answers.prompting.recipe_scores import BATCH_SENTENCE, given_of, image_parts
from medvlp.config.judge import Judge
from medvlp.config.measures.label_sets import label_sets
from medvlp.core.errors import DataError
from medvlp.evaluation.results import Result

__all__ = ["recipes", "scores_of_recipe"]


def recipes(judge: Judge) -> Iterator[Result]:
    """Yield the result of each recipe that the configuration names.

    Raises:
        DataError: if the data has no label of any finding that a recipe scores.
    """
    if not judge.sees or not (judge.prompts or judge.model.model.reads_text):
        return
    for name in judge.options.recipes:
        recipe, scores = scores_of_recipe(judge, name)
        known = {label: values for label, values in scores.items() if f"label.{label}" in judge.manifest}
        if not known:
            raise DataError(f"The recipe {recipe.name!r} scores no finding that this data has labels of: leave it out.")
        about = f"Zero-shot, {recipe.name} ({recipe.recipe.name})"
        told = (BATCH_SENTENCE.format(name=recipe.name),) if recipe.recipe.batch_dependent else ()
        parts = [(f"zero_shot_{recipe.name}", about, known, ())]
        parts += [
            (f"zero_shot_{recipe.name}_{each.name}", f"{about}, {each.name}", each.scores, each.told)
            for each in label_sets(judge, known)
        ]
        for made, title, some, missing in parts:
            result = judge.scores(made, some, title, hashed=recipe.hash)
            yield replace(result, caveats=(*result.caveats, *told, *missing))


def scores_of_recipe(judge: Judge, name: str) -> tuple[NamedRecipe, dict[str, np.ndarray]]:
    """Return a recipe and its scores by label; pictures are read again where it reads more than embeddings."""
    model, prepared = judge.model, judge.prepared
    recipe = load_recipe(name, own=prompt_sets(model.bundle))
    if recipe.recipe.image_parts == ("embedding",):
        parts: Mapping[str, np.ndarray] = {"embedding": judge.table[judge.seen]}
    else:
        pictures = model.model.pictures
        pixels = [prepared.sample(index).fields[pictures] for index in range(len(prepared))]
        parts = image_parts(model, recipe, pixels)  # pyrefly: ignore
    found = recipe.recipe.scores(given_of(model, recipe, parts))
    return recipe, {each.label: found[:, i] for i, each in enumerate(recipe.prompts)}

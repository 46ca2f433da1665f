"""Uncertain prompts: does "it may be there" find the pictures whose reports are uncertain?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medvlp.answers.asking.model import prompt_sets
from medvlp.answers.prompting.recipe_files import load_recipe
from medvlp.answers.prompting.recipe_scores import three_way_scores
from medvlp.config.judge import Judge
from medvlp.evaluation.results import Result

__all__ = ["doubt"]


def doubt(judge: Judge) -> Iterator[Result]:
    """Yield, for each recipe with uncertain prompts, how well their share ranks uncertain labels above known ones.

    Findings without an uncertain label in the data are left out, and so is a recipe that has none else.
    """
    if not judge.prompts or not judge.sees:
        return
    manifest = judge.prepared.manifest
    for name in judge.options.recipes:
        recipe = load_recipe(name, own=prompt_sets(judge.model.bundle))
        asked = [each for each in recipe.prompts if each.uncertain and f"label.{each.label}" in manifest]
        labels = {each.label: np.asarray(manifest.column(f"label.{each.label}"), dtype=float) for each in asked}
        asked = [each for each in asked if (labels[each.label] == -1).any()]
        if not asked:
            continue
        found = three_way_scores(judge.table[judge.seen], asked, judge.model.embed_text, scale=judge.model.scale)
        yield judge.scores(
            f"doubt_{recipe.name}",
            {label: each.uncertain for label, each in found.items()},
            f"Uncertain prompts against uncertain labels, {recipe.name}",
            labels={label: np.where(np.isnan(labels[label]), np.nan, labels[label] == -1) for label in found},
            hashed=f"doubt {recipe.hash}",
        )

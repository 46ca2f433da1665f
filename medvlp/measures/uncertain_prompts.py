"""Uncertain prompts: does "it may be there" find the pictures whose reports are uncertain?"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from medvlp.answers.asking.model import prompt_sets
from medvlp.answers.prompting.recipe_files import load_recipe
from medvlp.answers.prompting.recipe_scores import uncertain_scores
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result

logger = logging.getLogger(__name__)


class UncertainPrompts(Measure):
    """How well the share of a recipe's uncertain prompts ranks uncertain labels above known ones.

    Findings without an uncertain label in the data are left out, and so is a recipe that has none else.

    Args:
        recipes: names of ``configs/zero_shot/recipes``, or files.

    Example:
        >>> UncertainPrompts(recipes=("chexzero_v1",)).order
        32
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 32

    def __init__(self, *, recipes: Annotated[tuple[str, ...], Field(min_length=1)]) -> None:
        self.recipes = recipes

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield ``doubt_RECIPE`` for each recipe with uncertain prompts."""
        if not evaluation.prompts or not evaluation.compares:
            logger.info("No uncertain prompts: they need prompts, and embeddings that are compared with them.")
            return
        manifest, model = evaluation.judged.manifest, evaluation.model
        for wanted in self.recipes:
            recipe = load_recipe(wanted, own=prompt_sets(evaluation.answers))
            asked = [each for each in recipe.prompts if each.uncertain and f"label.{each.label}" in manifest]
            labels = {each.label: np.asarray(manifest.column(f"label.{each.label}"), dtype=float) for each in asked}
            asked = [each for each in asked if (labels[each.label] == -1).any()]
            if not asked:
                continue
            seen = evaluation.judged.table[evaluation.features]
            found = uncertain_scores(seen, asked, model.embed_text, scale=model.scale)
            yield evaluation.scores(
                f"doubt_{recipe.name}",
                found,
                f"Uncertain prompts against uncertain labels, {recipe.name}",
                labels={label: np.where(np.isnan(labels[label]), np.nan, labels[label] == -1) for label in found},
                hashed=f"doubt {recipe.hash}",
            )

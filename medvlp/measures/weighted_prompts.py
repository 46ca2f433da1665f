"""A model's own prompts with weights that were fitted on validation pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from medvlp.answers.prompting.prompt_weights import fit_prompt_weights
from medvlp.answers.prompting.recipe import class_vector
from medvlp.answers.prompting.recipe_files import load_recipe
from medvlp.answers.prompting.recipe_scores import given_of
from medvlp.answers.recipes.prompt_ensemble import PromptEnsemble
from medvlp.evaluation.evaluation import Evaluation, title_of
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.measures._groups import group_columns

__all__ = ["WeightedPrompts"]

logger = logging.getLogger(__name__)


class WeightedPrompts(Measure):
    """Scores of the first prompted answer under weights of its prompts, `medvlp.answers.prompting.prompt_weights`.

    Of models whose embeddings are compared. A finding that validation lacks a class of keeps equal weights.

    Example:
        >>> WeightedPrompts.usual
        False
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 15

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield ``ANSWER_weighted``."""
        validation, prompted = evaluation.validation, evaluation.prompted
        if prompted is None or not evaluation.prompts or not evaluation.compares or validation is None:
            logger.info("No weighted prompts: they need prompts, embeddings and validation pictures with labels.")
            return
        name, answer = prompted
        model, seen = evaluation.model, evaluation.judged.table[evaluation.features]
        held = validation.table[evaluation.features]
        weights = {}
        for each in evaluation.prompts:
            truth = np.asarray(validation.manifest.column(f"label.{each.label}"), dtype=float)
            if not {0.0, 1.0} <= set(truth.tolist()) or len(each.positive) < 2:
                continue
            found = fit_prompt_weights(
                held,
                model.embed_text(each.positive),
                class_vector(model.embed_text(each.negative)),
                truth,
                ["validate"] * len(truth),
                scale=model.scale,
            )
            weights[each.label] = found.tolist()
        recipe = load_recipe("prompt-ensemble", own=evaluation.prompts)
        ensemble = PromptEnsemble(weights=weights)
        judged, chosen_on = (
            ensemble.scores(given_of(model.model, recipe, {"embedding": images})).T for images in (seen, held)
        )
        labels = [each.label for each in evaluation.prompts]
        yield evaluation.scores(
            f"{name}_weighted",
            dict(zip(labels, judged, strict=True)),
            f"{title_of(name, answer).partition(',')[0]}, prompts weighted on validation",
            groups=group_columns(evaluation),
            chosen_on=dict(zip(labels, chosen_on, strict=True)),
            hashed=str(weights),
        )

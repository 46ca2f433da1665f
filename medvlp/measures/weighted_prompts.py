"""The bundle's own prompts with weights that were fitted on validation pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medvlp.answers.prompting.prompt_weights import fit_prompt_weights
from medvlp.answers.prompting.recipe import class_vector
from medvlp.answers.prompting.recipe_files import load_recipe
from medvlp.answers.prompting.recipe_scores import given_of
from medvlp.answers.recipes.prompt_ensemble import PromptEnsemble
from medvlp.config.judge import Judge
from medvlp.config.measures.zero_shot import group_columns
from medvlp.evaluation.results import Result

__all__ = ["weighted_prompts"]


def weighted_prompts(judge: Judge) -> Iterator[Result]:
    """Yield the zero-shot scores under fitted weights; a finding that validation lacks a class of keeps equal ones."""
    if not judge.options.prompt_weights or not judge.prompts or not judge.sees or judge.validation is None:
        return
    prepared, table = judge.validation
    weights = {}
    for each in judge.prompts:
        truth = np.asarray(prepared.manifest.column(f"label.{each.label}"), dtype=float)
        if not {0.0, 1.0} <= set(truth.tolist()) or len(each.positive) < 2:
            continue
        found = fit_prompt_weights(
            table[judge.seen],
            judge.model.embed_text(each.positive),
            class_vector(judge.model.embed_text(each.negative)),
            truth,
            ["validate"] * len(truth),
            scale=judge.model.scale,
        )
        weights[each.label] = found.tolist()
    recipe = load_recipe("prompt-ensemble", own=judge.prompts)
    ensemble = PromptEnsemble(weights=weights)
    scores, held = (
        ensemble.scores(given_of(judge.model, recipe, {"embedding": images})).T
        for images in (judge.table[judge.seen], table[judge.seen])
    )
    names = [each.label for each in judge.prompts]
    yield judge.scores(
        "zero_shot_weighted",
        dict(zip(names, scores, strict=True)),
        "Zero-shot, prompts weighted on validation",
        groups=group_columns(judge),
        chosen_on=dict(zip(names, held, strict=True)),
        hashed=str(weights),
    )

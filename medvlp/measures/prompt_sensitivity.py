"""How much the choice of one prompt moves a finding's AUROC."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medvlp.answers.prompting.recipe_scores import single_prompt_scores
from medvlp.config.judge import Judge
from medvlp.evaluation.prompt_sensitivity import evaluate_prompt_sensitivity
from medvlp.evaluation.results import Result

__all__ = ["prompts"]


def prompts(judge: Judge) -> Iterator[Result]:
    """Yield the AUROC of single prompts."""
    if not judge.options.sensitivity or not judge.prompts or not judge.sees:
        return
    manifest, images = judge.seen_rows()
    scores = single_prompt_scores(images, judge.prompts, judge.model.embed_text, scale=judge.model.scale)
    labels = {p.label: np.asarray(manifest.column(f"label.{p.label}"), dtype=float) for p in judge.prompts}
    yield evaluate_prompt_sensitivity(scores, labels, manifest.column("id.patient").tolist(), **judge.facts)

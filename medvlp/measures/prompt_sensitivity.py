"""How much the choice of one prompt moves a finding's AUROC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from medvlp.answers.prompting.recipe_scores import single_prompt_scores
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.prompt_sensitivity import evaluate_prompt_sensitivity
from medvlp.evaluation.results import Result


class PromptSensitivity(Measure):
    """The AUROC of each positive prompt alone and its spread, of the first prompted answer that compares embeddings.

    Example:
        >>> PromptSensitivity.usual
        True
    """

    order: ClassVar[int] = 34

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the AUROC of single prompts."""
        if not evaluation.prompts or not evaluation.compares:
            return
        (manifest, images), model = evaluation.seen_rows(), evaluation.model
        scores = single_prompt_scores(images, evaluation.prompts, model.embed_text, scale=model.scale)
        labels = {p.label: np.asarray(manifest.column(f"label.{p.label}"), dtype=float) for p in evaluation.prompts}
        patients = manifest.column("id.patient").tolist()
        yield evaluate_prompt_sensitivity(scores, labels, patients, split=evaluation.options.split)

"""``prompt-ensemble``: the mean of many ways to say yes against the mean of many ways to say no."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medvlp.answers.prompting.recipe import Factor, FloatArray, Given, Recipe, dots, pair_probability


class PromptEnsemble(Recipe):
    """p = softmax([s v.p, s v.n]) at p; p and n are means of unit embeddings of prompts, at unit length again.

    BioViL (Boecking et al., ECCV 2022), MedCLIP (Wang et al., EMNLP 2022), after CLIP (Radford et al., ICML 2021).

    Args:
        scale: s, or ``model`` for the model's own.
        weights: finding -> one weight, 0 or more, a positive prompt, chosen on validation; None: all alike.

    Example:
        >>> from medvlp.text.prompts import PromptSet
        >>> given = Given((PromptSet("v1", "a", ("yes", "sure"), ("no",)),), {"embedding": np.eye(2)},
        ...               ("no", "sure", "yes"), {"embedding": np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])})
        >>> PromptEnsemble(scale=1.0).scores(given).round(3).tolist()
        [[0.731], [0.269]]
    """

    name = "prompt-ensemble"

    def __init__(self, *, scale: Factor = "model", weights: Mapping[str, list[float]] | None = None) -> None:
        self.scale: Factor = scale
        self.weights = weights or {}

    def scores(self, given: Given) -> FloatArray:
        """Return (N, F)."""
        images, scale = given.image("embedding"), given.scale_of(self.scale)
        columns = []
        for each in given.prompts:
            near = dots(images, given.pair(each, self.weights.get(each.label)))
            columns.append(pair_probability(near[:, 0], near[:, 1], scale))
        return np.stack(columns, axis=1)

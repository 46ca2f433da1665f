"""``pair-softmax``: is the image more like "effusion" than like "no effusion"?"""

from __future__ import annotations

from itertools import product

import numpy as np

from medvlp.answers.prompting.recipe import Factor, FloatArray, Given, Recipe, dots, pair_probability


class PairSoftmax(Recipe):
    """p = softmax([s cos(v, t+), s cos(v, t-)]) at t+, averaged over all pairs of a positive and a negative prompt.

    With one prompt each way it is the score of CheXzero (Tiu et al., Nat Biomed Eng 2022; s = 1, so that every p lies
    near .5: the ranks are meant, not the probabilities), CXR-CLIP (s = 1), CT-CLIP and HLIP (learned s).

    Args:
        scale: s, or ``model`` for the model's own.

    Example:
        >>> from medvlp.text.prompts import PromptSet
        >>> given = Given((PromptSet("v1", "a", ("yes",), ("no",)),), {"embedding": np.eye(2)}, ("no", "yes"),
        ...               {"embedding": np.eye(2)[::-1]})
        >>> PairSoftmax(scale=1.0).scores(given).round(3).tolist()
        [[0.731], [0.269]]
    """

    name = "pair-softmax"

    def __init__(self, *, scale: Factor = "model") -> None:
        self.scale: Factor = scale

    def scores(self, given: Given) -> FloatArray:
        """Return (N, F)."""
        images, scale = given.image("embedding"), given.scale_of(self.scale)
        columns = []
        for each in given.prompts:
            positive = dots(images, given.text("embedding", each.positive))
            negative = dots(images, given.text("embedding", each.negative))
            pairs = product(range(positive.shape[1]), range(negative.shape[1]))
            found = [pair_probability(positive[:, p], negative[:, n], scale) for p, n in pairs]
            columns.append(np.sum(found, axis=0) / len(found))
        return np.stack(columns, axis=1)

"""``sigmoid``: does this text fit the image, by the odds that a sigmoid loss has learned?"""

from __future__ import annotations

import numpy as np

from medvlp.answers.prompting.recipe import (
    Factor,
    FloatArray,
    Given,
    Recipe,
    Scale,
    class_vector,
    dots,
    pair_probability,
)
from medvlp.core.errors import DataError


class Sigmoid(Recipe):
    """p = sigmoid(s v.t + b), t the ensemble of the positive prompts (SigLIP, Zhai et al., ICCV 2023).

    s and b say how likely an image and a text of one training batch belong together, with far more strangers than
    partners: p is a score and small by design.

    Args:
        scale: s, or ``model`` for the model's own.
        bias: b, or ``model`` for the model's own.

    Raises:
        DataError: if the model's bias is asked for and it has none.

    Example:
        >>> from medvlp.text.prompts import PromptSet
        >>> given = Given((PromptSet("v1", "a", ("a",), ("no a",)),), {"embedding": np.eye(2)}, ("a",),
        ...               {"embedding": np.eye(2)[:1]}, scale=10.0, bias=-10.0)
        >>> Sigmoid().scores(given).round(4).tolist()
        [[0.5], [0.0]]
    """

    name = "sigmoid"
    denials = False

    def __init__(self, *, scale: Factor = "model", bias: Scale = "model") -> None:
        self.scale: Factor = scale
        self.bias: Scale = bias

    def scores(self, given: Given) -> FloatArray:
        """Return (N, F)."""
        bias = given.bias if self.bias == "model" else float(self.bias)
        if bias is None:
            raise DataError(
                f"The recipe {self.name} adds the model's logit bias, which this one has not: it was not trained by a "
                "sigmoid loss, use pair-softmax or set bias."
            )
        vectors = np.stack([class_vector(given.text("embedding", each.positive)) for each in given.prompts])
        return pair_probability(given.scale_of(self.scale) * dots(given.image("embedding"), vectors), -bias, 1.0)

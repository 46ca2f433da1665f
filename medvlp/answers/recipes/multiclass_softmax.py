"""``multiclass-softmax``: which of these classes is the image?"""

from __future__ import annotations

import numpy as np

from medvlp.answers.prompting.recipe import Factor, FloatArray, Given, Recipe, class_vector, dots, softmax
from medvlp.core.errors import DataError


class MulticlassSoftmax(Recipe):
    """p = softmax over classes f of s v.c_f, where c_f is the ensemble of the prompts of f.

    CLIP; CheXpert 5x200 as in MedCLIP and GLoRIA; RadCLIP's matching. The classes exclude each other: for findings that
    may stand together use a pair. The score of a class depends on which other classes are asked for, never on other
    images.

    Args:
        scale: s, or ``model`` for the model's own.

    Raises:
        DataError: for fewer than two classes.

    Example:
        >>> from medvlp.text.prompts import PromptSet
        >>> sets = (PromptSet("v1", "a", ("a",), ("no a",)), PromptSet("v1", "b", ("b",), ("no b",)))
        >>> given = Given(sets, {"embedding": np.eye(2)}, ("a", "b"), {"embedding": np.eye(2)})
        >>> MulticlassSoftmax(scale=1.0).scores(given).round(3).tolist()
        [[0.731, 0.269], [0.269, 0.731]]
    """

    name = "multiclass-softmax"
    denials = False

    def __init__(self, *, scale: Factor = "model") -> None:
        self.scale: Factor = scale

    def scores(self, given: Given) -> FloatArray:
        """Return (N, F); rows add to 1."""
        if len(given.prompts) < 2:
            raise DataError(f"The recipe {self.name} compares classes and has {len(given.prompts)}: give two or more.")
        classes = np.stack([class_vector(given.text("embedding", each.positive)) for each in given.prompts])
        return softmax(given.scale_of(self.scale) * dots(given.image("embedding"), classes))

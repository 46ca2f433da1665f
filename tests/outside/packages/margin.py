"""A recipe: one file, one class from features of images and prompts to scores."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medvlp.answers.prompting.recipe import FloatArray, Given, Recipe, class_vector, dots


class Margin(Recipe):
    """v . (t+ - t-), the mean of the prompts for a finding less that of those against it."""

    name: ClassVar[str] = "margin"
    denials: ClassVar[bool] = True

    def scores(self, given: Given) -> FloatArray:
        sides = [(each.positive, each.negative) for each in given.prompts]
        vectors = [[class_vector(given.text("embedding", texts)) for texts in side] for side in sides]
        return dots(given.image("embedding"), np.stack([yes - no for yes, no in vectors]))

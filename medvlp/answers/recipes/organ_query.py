"""``organ-query``: an organ's own embedding against prompts about that organ."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medvlp.answers.prompting.recipe import Factor, FloatArray, Given, Recipe, class_vector, dots, pair_probability
from medvlp.core.errors import DataError


class OrganQuery(Recipe):
    """p = softmax([s o.p, s o.n]) at p, o the unit embedding that was pooled inside the finding's organ.

    fVLM (Shui et al., ICLR 2025): tokens are pooled inside the mask of lung, heart, oesophagus, aorta. An image in
    which an organ was not found has no score for its findings and is refused: another embedding in its place would be
    another measurement.

    Args:
        organs: finding -> organ.
        head: part of the images with the organs' embeddings (N, O, D), NaN where one was not found.
        scale: s, or ``model`` for the model's own.

    Raises:
        DataError: if a finding has no organ, the head does not give it, or it was not found in an image.

    Example:
        >>> from medvlp.text.prompts import PromptSet
        >>> given = Given((PromptSet("v1", "a", ("yes",), ("no",)),), {"organs": np.eye(2)[:, None]}, ("no", "yes"),
        ...               {"embedding": np.eye(2)[::-1]}, names={"organs": ("lung",)})
        >>> OrganQuery(organs={"a": "lung"}, scale=1.0).scores(given).round(3).tolist()
        [[0.731], [0.269]]
    """

    name = "organ-query"

    def __init__(self, *, organs: Mapping[str, str], head: str = "organs", scale: Factor = "model") -> None:
        self.organs = organs
        self.head = head
        self.scale: Factor = scale

    @property
    def image_parts(self) -> tuple[str, ...]:
        """The head."""
        return (self.head,)

    def scores(self, given: Given) -> FloatArray:
        """Return (N, F)."""
        pooled, names = given.image(self.head, whole=False), given.names.get(self.head, ())
        if pooled.ndim != 3 or pooled.shape[1] != len(names):
            raise DataError(f"The head {self.head!r} gives {pooled.shape} for {len(names)} organs: it needs (N, O, D).")
        columns, scale = [], given.scale_of(self.scale)
        for each in given.prompts:
            organ = self.organs.get(each.label)
            if organ not in names:
                raise DataError(f"{each.label!r} has the organ {organ!r}, the head gives {', '.join(names)}: map it.")
            at = names.index(organ)
            lost = int((~np.isfinite(pooled[:, at]).all(axis=1)).sum())
            if lost:
                raise DataError(f"The {organ} was not found in {lost} of {len(pooled)} images: leave these out.")
            positive = class_vector(given.text("embedding", each.positive))
            negative = class_vector(given.text("embedding", each.negative))
            near = dots(pooled[:, at], np.stack([positive, negative]))
            columns.append(pair_probability(near[:, 0], near[:, 1], scale))
        return np.stack(columns, axis=1)

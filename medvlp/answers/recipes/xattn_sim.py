"""``xattn-sim``: a prompt looks at the image's tokens, and what it finds is compared with it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from medvlp.answers.prompting.recipe import Factor, FloatArray, Given, Recipe, dots, pair_probability, unit_rows
from medvlp.core.errors import DataError


class XattnSim(Recipe):
    """p = sigmoid(s (cos(c, t) - offset)), c = sum_i softmax_i(cos(x_i, t) / temperature) x_i over image tokens x.

    Similarity of the output of a cross attention whose query is the prompt, without weights of its own (RadZero,
    Park et al. 2025; CARZero, Lai et al., CVPR 2024, reads a layer's output by a trained network). Several prompts are
    averaged.

    Args:
        scale: s, or ``model`` for the model's own.
        temperature: of the attention.
        offset: similarity at which p is one half.

    Example:
        >>> from medvlp.text.prompts import PromptSet
        >>> images = {"local": np.eye(2)[None], "mask": np.ones((1, 2), bool)}
        >>> given = Given((PromptSet("v1", "a", ("a",), ("no a",)),), images, ("a",), {"embedding": np.eye(2)[:1]})
        >>> XattnSim(scale=1.0, temperature=1e-3).scores(given).round(3).tolist()
        [[0.731]]
    """

    name = "xattn-sim"
    denials = False

    def __init__(
        self, *, scale: Factor = "model", temperature: Annotated[float, Field(gt=0)] = 0.1, offset: float = 0.0
    ) -> None:
        self.scale: Factor = scale
        self.temperature = temperature
        self.offset = offset

    @property
    def image_parts(self) -> tuple[str, ...]:
        """The tokens."""
        return ("local", "mask")

    def scores(self, given: Given) -> FloatArray:
        """Return (N, F)."""
        scale = given.scale_of(self.scale)
        tokens, mask = unit_rows(given.image("local")), np.asarray(given.image("mask"), dtype=bool)
        columns = []
        for each in given.prompts:
            texts = unit_rows(given.text("embedding", each.positive))
            found = np.stack([self._attended(own[real], texts) for own, real in zip(tokens, mask, strict=True)])
            columns.append(pair_probability(found, self.offset, scale).sum(axis=1) / len(texts))
        return np.stack(columns, axis=1)

    def _attended(self, tokens: FloatArray, texts: FloatArray) -> FloatArray:
        """Return (P,) similarities of one image's real tokens (T, D) with prompts (P, D)."""
        if not len(tokens):
            raise DataError(f"An image has no tokens: the recipe {self.name} cannot score it.")
        near = dots(tokens, texts) / self.temperature  # (T, P)
        weight = np.exp(near - near.max(axis=0))
        weight /= weight.sum(axis=0)
        context = unit_rows((weight.T[:, :, None] * tokens[None]).sum(axis=1))  # (P, D)
        return (context * texts).sum(axis=1)

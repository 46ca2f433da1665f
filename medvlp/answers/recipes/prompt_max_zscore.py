"""``prompt-max-zscore``: the best of several prompts, local and global, in standard deviations of its class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from medvlp.answers.prompting.recipe import FloatArray, Given, Recipe, dots, unit_rows
from medvlp.core.errors import DataError


class PromptMaxZscore(Recipe):
    """score_f = (max over prompts P of f of (local + global) / 2 - mean) / sd, after GLoRIA (Huang et al., ICCV 2021).

    global = cos(v, t). local = max over the words w of P of cos(w, c_w), where c_w = sum_i a_i r_i is what word w
    attends to: a = softmax over regions i of ``sharpness * softmax over words of (r_i . w)``. As in the released code
    the local part at inference is a maximum over words, unlike the log-sum-exp of training. Without `statistics` mean
    and sd are those of the images that are scored together: the score of one image then depends on the others. Means
    and deviations from validation end that.

    Args:
        sharpness: of the attention over regions.
        local: whether the local part is used; it needs the parts ``local`` and ``mask``.
        statistics: finding -> (mean, sd); None takes them from the batch.

    Raises:
        DataError: for a finding without statistics, or a batch in which all images score alike.

    Example:
        >>> from medvlp.text.prompts import PromptSet
        >>> given = Given((PromptSet("v1", "a", ("yes",), ("no",)),), {"embedding": np.eye(2)}, ("yes",),
        ...               {"embedding": np.eye(2)[:1]})
        >>> PromptMaxZscore(local=False).scores(given).tolist()
        [[1.0], [-1.0]]
    """

    name = "prompt-max-zscore"
    denials = False

    def __init__(
        self,
        *,
        sharpness: Annotated[float, Field(ge=0)] = 4.0,
        local: bool = True,
        statistics: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        self.sharpness = sharpness
        self.local = local
        self.statistics = statistics

    @property
    def image_parts(self) -> tuple[str, ...]:
        """The embedding, and the regions where the local part is used."""
        return ("embedding", "local", "mask") if self.local else ("embedding",)

    @property
    def text_parts(self) -> tuple[str, ...]:  # pyrefly: ignore
        """The same of the words."""
        return self.image_parts

    @property
    def batch_dependent(self) -> bool:
        """True where mean and deviation are the batch's."""
        return self.statistics is None

    def raw(self, given: Given) -> FloatArray:
        """Return (N, F) before the z-score: what `statistics` are taken of."""
        images = unit_rows(given.image("embedding"))
        columns = []
        for each in given.prompts:
            near = dots(images, unit_rows(given.text("embedding", each.positive)))
            if self.local:
                words, real = given.text("local", each.positive), given.text("mask", each.positive)
                regions, there = given.image("local"), given.image("mask")
                found = [
                    word_similarity(regions, there, w, r, sharpness=self.sharpness)
                    for w, r in zip(words, real, strict=True)
                ]
                near = (near + np.stack(found, axis=1)) / 2
            columns.append(near.max(axis=1))
        return np.stack(columns, axis=1)

    def scores(self, given: Given) -> FloatArray:
        """Return (N, F)."""
        raw = self.raw(given)
        if self.statistics is None:
            # Sums are exact (fsum), so that the order of the images cannot change them.
            mean = np.array([math.fsum(column) / len(column) for column in raw.T])
            square = [math.fsum((column - m) ** 2) / len(column) for column, m in zip(raw.T, mean, strict=True)]
            spread = np.sqrt(square)
            if len(raw) < 2 or not (spread > 0).all():
                raise DataError(
                    f"The recipe {self.name} takes mean and deviation from the {len(raw)} images that are scored "
                    "together, and they do not differ: score more images, or give statistics from validation."
                )
            return (raw - mean) / spread
        missing = [label for label in given.labels if label not in self.statistics]
        if missing:
            raise DataError(f"The recipe {self.name} has no statistics of {missing[0]!r}: take them on validation.")
        known = np.array([self.statistics[label] for label in given.labels])
        if not (known[:, 1] > 0).all():
            raise DataError(
                f"The recipe {self.name} has statistics with a deviation that is not above 0: take them anew."
            )
        return (raw - known[:, 0]) / known[:, 1]


def word_similarity(
    regions: np.ndarray, there: np.ndarray, words: np.ndarray, real: np.ndarray, *, sharpness: float
) -> FloatArray:
    """Return (N,) the greatest cosine of a word with what it attends to.

    Args:
        regions: (N, T, D).
        there: (N, T) bool.
        words: (L, D).
        real: (L,) bool.
        sharpness: of the attention over regions.
    """
    own, real_words = unit_rows(regions), unit_rows(words)[np.asarray(real, dtype=bool)]
    if not len(real_words):
        raise DataError("A prompt has no words: mend the tokenizer or the prompt.")
    out = np.empty(len(own))
    for n, (image, mask) in enumerate(zip(own, np.asarray(there, dtype=bool), strict=True)):
        seen = image[mask]
        near = dots(seen, real_words)  # (t, l)
        over_words = np.exp(near - near.max(axis=1, keepdims=True))
        over_words /= over_words.sum(axis=1, keepdims=True)
        attention = np.exp(sharpness * (over_words - over_words.max(axis=0)))
        attention /= attention.sum(axis=0)
        context = unit_rows((attention.T[:, :, None] * seen[None]).sum(axis=1))  # (l, D)
        out[n] = (context * real_words).sum(axis=1).max()
    return out

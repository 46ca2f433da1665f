"""Class vectors of prompt pairs, and the scores of `medvlp.answers.zero_shot` by them.

A score is a monotone function of v.(p - n), so AUROC does not depend on the scale; it is no calibrated probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medvlp.answers.prompting.recipe import class_vector, dots, pair_probability
from medvlp.core.map import Scale
from medvlp.text.prompts import PromptSet

EmbedText = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class ZeroShotVectors:
    """Class vectors of a prompt set.

    Attributes:
        labels: F findings.
        positive: (F, D) unit vectors.
        negative: (F, D) unit vectors.
        scale: logit scale s.
    """

    labels: tuple[str, ...]
    positive: np.ndarray
    negative: np.ndarray
    scale: float

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Return (N, F) scores in (0, 1) of (N, D) unit image embeddings.

        Example:
            >>> shot = ZeroShotVectors(("a",), np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), 1.0)
            >>> shot.scores(np.array([[1.0, 0.0], [0.0, 1.0]])).round(3).tolist()
            [[0.731], [0.269]]
        """
        return pair_probability(dots(images, self.positive), dots(images, self.negative), self.scale)

    def by_label(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the scores of each finding, (N,)."""
        return dict(zip(self.labels, self.scores(images).T, strict=True))

    def direction(self, label: str) -> np.ndarray:
        """Return (D,) p - n of a finding: what a heat map of its score follows."""
        index = self.labels.index(label)
        return self.positive[index] - self.negative[index]


def make_zero_shot(prompts: Sequence[PromptSet], embed_text: EmbedText, *, scale: float) -> ZeroShotVectors:
    """Embed the prompts, each distinct one once.

    Args:
        prompts: one set a finding.
        embed_text: texts -> (T, D) unit embeddings.
        scale: the model's logit scale.
    """
    texts = sorted({text for each in prompts for text in (*each.positive, *each.negative)})
    vectors = dict(zip(texts, embed_text(texts), strict=True))
    positive = np.stack([class_vector(np.stack([vectors[t] for t in each.positive])) for each in prompts])
    negative = np.stack([class_vector(np.stack([vectors[t] for t in each.negative])) for each in prompts])
    return ZeroShotVectors(tuple(each.label for each in prompts), positive, negative, scale)


@dataclass(frozen=True)
class Words:
    """Vectors of a finding or a sentence.

    Attributes:
        positive: (D,) unit vector of what says that it is there.
        direction: (D,) that, less the unit vector of what says that it is not.
    """

    positive: Tensor
    direction: Tensor

    def on(self, scale: Scale) -> Tensor:
        """Return what a method of a scale follows: of values that mean the same everywhere that of presence."""
        return self.positive if scale == "own" else self.direction


def direction_of(positive: Sequence[str], negative: Sequence[str], embed_text: EmbedText) -> Words:
    """Return the vectors of texts against other texts.

    Example:
        >>> words = direction_of(["yes"], ["no"], lambda texts: np.eye(2)[[["yes", "no"].index(t) for t in texts]])
        >>> words.on("own").tolist(), words.on("peak").tolist()
        ([1.0, 0.0], [1.0, -1.0])
    """
    near, far = (class_vector(embed_text(texts)) for texts in (positive, negative))
    return Words(*(torch.from_numpy(np.asarray(v, dtype=np.float32)) for v in (near, near - far)))


def directions(prompts: Sequence[PromptSet], embed_text: EmbedText) -> dict[str, Words]:
    """Return the vectors of each finding."""
    return {each.label: direction_of(each.positive, each.negative, embed_text) for each in prompts}

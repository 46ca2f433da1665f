"""What a map of a finding follows: the vector of its presence, and that from its absence to its presence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medvlp.answers.prompting.class_vectors import EmbedText, unit_mean
from medvlp.core.map import Scale
from medvlp.text.prompts import PromptSet

__all__ = ["Words", "direction_of", "directions"]


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
    near, far = (unit_mean(list(embed_text(texts))) for texts in (positive, negative))
    return Words(*(torch.from_numpy(np.asarray(v, dtype=np.float32)) for v in (near, near - far)))


def directions(prompts: Sequence[PromptSet], embed_text: EmbedText) -> dict[str, Words]:
    """Return the vectors of each finding."""
    return {each.label: direction_of(each.positive, each.negative, embed_text) for each in prompts}

"""Does the model know left from right? The margin of "left X" over "right X" on an image with X."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvlp.answers.prompting.class_vectors import EmbedText, unit_mean
from medvlp.text.prompts import PromptSet

__all__ = ["side_margins"]


def side_margins(images: np.ndarray, prompts: Sequence[PromptSet], embed_text: EmbedText) -> dict[str, np.ndarray]:
    """Return score(left X) - score(right X) for every finding X with sided prompts.

    Args:
        images: (N, D) unit embeddings.
        prompts: sets; those without ``{side}`` templates are left out.
        embed_text: texts -> (T, D) unit embeddings.

    Returns:
        label -> (N,) difference of cosines with the unit means of the left and the right prompts; the patient's side.
    """
    margins = {}
    for each in prompts:
        if each.sided:
            left, right = (unit_mean(list(embed_text(each.on(side)))) for side in ("left", "right"))
            margins[each.label] = images @ (left - right)
    return margins

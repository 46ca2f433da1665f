"""``grad_cam``: channels of the last map, weighted by their mean gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model
from medvlp.features.heat_map import token_gradients

__all__ = ["GradCam"]


@dataclass(frozen=True, kw_only=True)
class GradCam:
    """relu(sum_k a_k T_ik) with a_k the mean of the gradient g_ik over the tokens i (Selvaraju et al. 2017, eq. 1, 2).

    Example:
        >>> GradCam().scale
        'peak'
    """

    scale: ClassVar[Scale] = "peak"

    def __call__(self, model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
        """Return the maps.

        Raises:
            ConfigError: if the embedding is pooled from no grid of tokens.
        """
        return [
            Map(
                np.maximum(found.tokens @ found.gradient.mean(axis=0), 0).reshape(found.grid),
                method="grad_cam",
                score=found.score,
            )
            for found in token_gradients(model, image, vectors)
        ]

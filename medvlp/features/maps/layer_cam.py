"""``layer_cam``: the activation where its own gradient is positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model
from medvlp.features.heat_map import token_gradients

__all__ = ["LayerCam"]


@dataclass(frozen=True, kw_only=True)
class LayerCam:
    """relu(sum_k relu(g_ik) T_ik) at token i (LayerCAM, Jiang et al. 2021, eq. 6 to 8), of the last map.

    Example:
        >>> LayerCam().scale
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
                np.maximum((np.maximum(found.gradient, 0) * found.tokens).sum(axis=1), 0).reshape(found.grid),
                method="layer_cam",
                score=found.score,
            )
            for found in token_gradients(model, image, vectors)
        ]

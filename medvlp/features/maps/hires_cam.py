"""``hires_cam``: gradient times activation, an exact decomposition of the score where the tower pools by a mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model
from medvlp.features.heat_map import heat_maps

__all__ = ["HiResCam"]


@dataclass(frozen=True, kw_only=True)
class HiResCam:
    """sum_k g_ik T_ik at token i (HiResCAM, Draelos and Carin 2020); signed. See `medvlp.features.heat_map`.

    Example:
        >>> HiResCam().scale
        'peak'
    """

    scale: ClassVar[Scale] = "peak"

    def __call__(self, model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
        """Return the maps.

        Raises:
            ConfigError: if the embedding is pooled from no grid of tokens.
        """
        return heat_maps(model, image, vectors)

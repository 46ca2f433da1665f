"""What all maps have in common."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol

from torch import Tensor

from medvlp.core.protocols import Model
from medvlp.features.heat_map import HeatMap

__all__ = ["MapMethod", "Scale"]

Scale = Literal["own", "peak"]


class MapMethod(Protocol):
    """A way to make a map.

    Attributes:
        scale: ``own``: values mean the same in every picture; ``peak``: only their order within a picture counts.
    """

    scale: ClassVar[Scale]

    def __call__(self, model: Model, image: Tensor, vector: Tensor) -> HeatMap:
        """Return the map of a (C, H, W) image for a (D,) direction; the model is in evaluation mode."""
        ...

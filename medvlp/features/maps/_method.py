"""What all maps have in common."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model

__all__ = ["MapMethod"]


class MapMethod(Protocol):
    """A way to make a map.

    Attributes:
        scale: of its maps.
    """

    scale: ClassVar[Scale]

    def __call__(self, model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
        """Return a map of a (C, H, W) image for each of (K, D) directions; the model is in evaluation mode."""
        ...

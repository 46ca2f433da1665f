"""Maps of where the score of an (image, text) pair comes from, one method a file.

Each is built by name with its options and called as ``(model, image, vectors) -> list[Map]``, a map a vector: the
picture is encoded once for all of them, and the values lie on the grid of the model's view, row by row.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model

__all__ = ["MapMethod"]


class MapMethod(Protocol):
    """A way to make a map; `scale` is that of its maps."""

    scale: ClassVar[Scale]

    def __call__(self, model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
        """Return a map of a (C, H, W) image for each of (K, D) directions; the model is in evaluation mode."""
        ...

"""What the maps of the Grad-CAM family share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from torch import Tensor

from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model
from medvlp.features.heat_map import TokenGradient, token_gradients


class GradientMap(ABC):
    """A map of the tokens and their gradient; `method` is its name."""

    scale: ClassVar[Scale] = "peak"
    method: ClassVar[str]

    @abstractmethod
    def values(self, found: TokenGradient) -> np.ndarray:
        """Return the value at each token, (N,)."""

    def __call__(self, model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
        """Return the maps; a tower that pools its embedding from no grid of tokens is refused (ConfigError)."""
        return [
            Map(self.values(found).reshape(found.grid), method=self.method, score=found.score)
            for found in token_gradients(model, image, vectors)
        ]

"""``occlusion``: how much the score falls where a window of the picture is covered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model
from medvlp.features.heat_map import encoded_images


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """At a cell: mean, over the windows that cover it, of score - score of the picture with the window filled.

    The picture is cut into cells x cells; a window is a square of cells (Zeiler and Fergus 2014). It needs nothing of
    the model but its score, at the price of (cells - window + 1)^2 forward passes.

    Attributes:
        cells: a side.
        window: its side in cells.
        fill: a gray level, None for the picture's own mean.
        batch: covered pictures encoded at a time.

    Raises:
        ConfigError: for a window that does not fit.

    Example:
        >>> Occlusion(cells=7).window
        2
    """

    scale: ClassVar[Scale] = "peak"
    cells: int = 14
    window: int = 2
    fill: float | None = None
    batch: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.window <= self.cells or self.batch < 1:
            raise ConfigError(
                f"A window of {self.window} cells does not fit {self.cells}, or a batch of {self.batch} is none: set "
                "1 <= window <= cells and batch to 1 or more."
            )

    def __call__(self, model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
        """Return the maps, (cells, cells); each covered picture is encoded once, one with fewer pixels is refused."""
        height, width = image.shape[-2:]
        if min(height, width) < self.cells:
            raise ConfigError(f"A picture of {height} x {width} has no {self.cells} cells a side: set cells lower.")
        rows = [round(i * height / self.cells) for i in range(self.cells + 1)]
        columns = [round(i * width / self.cells) for i in range(self.cells + 1)]
        level = image.mean() if self.fill is None else torch.as_tensor(self.fill, dtype=image.dtype)
        starts = range(self.cells - self.window + 1)
        places = [(i, j) for i in starts for j in starts]
        whole = self._scores(model, image[None], vectors)[0]
        fall = np.zeros((len(vectors), self.cells, self.cells))
        windows = np.zeros((self.cells, self.cells))
        for start in range(0, len(places), self.batch):
            some = places[start : start + self.batch]
            covered = image[None].repeat(len(some), 1, 1, 1)
            for row, (i, j) in zip(covered, some, strict=True):
                row[:, rows[i] : rows[i + self.window], columns[j] : columns[j + self.window]] = level
            for (i, j), scores in zip(some, self._scores(model, covered, vectors), strict=True):
                fall[:, i : i + self.window, j : j + self.window] += (whole - scores)[:, None, None]
                windows[i : i + self.window, j : j + self.window] += 1
        means = (fall / windows).astype(np.float32)
        return [Map(values, method="occlusion", score=float(s)) for values, s in zip(means, whole, strict=True)]

    @staticmethod
    def _scores(model: Model, images: Tensor, vectors: Tensor) -> np.ndarray:
        with torch.inference_mode():
            rows = encoded_images(model, images, "embedding").part("embedding").cpu()
            return (rows.double() @ vectors.cpu().double().T).numpy()

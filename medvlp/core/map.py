"""Where a score of a picture comes from: one form of map for every method, model and answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch.nn.functional import grid_sample

from medvlp.core.errors import UserError
from medvlp.core.sample import ImageRecord
from medvlp.core.turns import turned_back

#: ``own``: values mean the same in every picture (a cosine); ``peak``: only their order within a picture counts.
Scale = Literal["own", "peak"]


@dataclass(frozen=True)
class Map:
    """A heat map: a grid over the model's view of an image. It shows what the model used, not what is there.

    Attributes:
        values: (rows, columns) float32; positive: evidence for what was asked.
        box: (x0, y0, x1, y1) of the view in pixels of the source, where it is known.
        method: that made it.
        scale: how its values are read.
        score: of what was asked; NaN where the method knows none.
    """

    values: np.ndarray
    box: tuple[float, float, float, float] | None = None
    method: str = ""
    scale: Scale = "peak"
    score: float = float("nan")

    def placed(self, record: ImageRecord | None) -> Map:
        """Return the map placed in its source image by a view's record; mirrored and turned views are turned back.

        Example:
            >>> Map(np.array([[0.0, 1.0]])).placed(ImageRecord(seed=0, box=(0, 0, 8, 4), flip=True)).values.tolist()
            [[1.0, 0.0]]
        """
        if record is None:
            return self
        if record.matrix is not None and len(record.matrix) == 2:
            return replace(self, box=record.box, values=turned_back(self.values, record.matrix))
        return replace(self, box=record.box, values=self.values[:, ::-1] if record.flip else self.values)

    def in_source(self, height: int, width: int, *, mode: str = "bilinear") -> np.ndarray:
        """Return (height, width) float32 over the pixels of the source; 0 where the view does not reach.

        Args:
            height: rows of the source.
            width: its columns.
            mode: ``bilinear``, or ``nearest``: blocks of one value, as the released scripts make them.

        Raises:
            UserError: if it is not known where the view lies in the source.

        Example:
            >>> side = Map(np.array([[0.25, 0.75]], np.float32), (0.0, -1.0, 4.0, 3.0))
            >>> side.in_source(2, 4, mode="nearest").tolist()  # the view is padded above and below
            [[0.25, 0.25, 0.75, 0.75], [0.25, 0.25, 0.75, 0.75]]
        """
        if self.box is None:
            raise UserError("It is not known where this view lies in its source: ask for a map of a file.")
        x0, y0, x1, y1 = self.box
        across = 2 * (np.arange(width) + 0.5 - x0) / (x1 - x0) - 1
        down = 2 * (np.arange(height) + 0.5 - y0) / (y1 - y0) - 1
        inside = (np.abs(down) <= 1)[:, None] & (np.abs(across) <= 1)[None]
        grid = torch.from_numpy(np.stack(np.meshgrid(across, down), axis=-1).astype(np.float32))[None]
        values = torch.from_numpy(np.ascontiguousarray(self.values, np.float32))[None, None]
        spread = grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=False)
        return np.where(inside, spread[0, 0].numpy(), 0).astype(np.float32)

    def resized(self, size: int) -> np.ndarray:
        """Return (size, size) float32 over the model's view: positive evidence only, the largest value 1."""
        large = replace(self, values=np.maximum(self.values, 0), box=(0.0, 0.0, size, size)).in_source(size, size)
        top = float(large.max())
        return large / top if top > 0 else large

    def peak(self, size: tuple[int, int] | None = None) -> tuple[float, float]:
        """Return (x, y) of the middle of the highest cell, in pixels of the source where the view's place is known.

        Args:
            size: rows and columns of the source; cells whose middle lies in the padding around it do not count.

        Example:
            >>> wide = Map(np.array([[0.25, 0.75]], np.float32), (0.0, 0.0, 40.0, 20.0))
            >>> wide.peak(), wide.peak((20, 20))
            ((30.0, 10.0), (10.0, 10.0))
        """
        rows, columns = self.values.shape
        x0, y0, x1, y1 = self.box or (0.0, 0.0, 1.0, 1.0)
        across = x0 + (np.arange(columns) + 0.5) * (x1 - x0) / columns
        down = y0 + (np.arange(rows) + 0.5) * (y1 - y0) / rows
        inside = np.ones((rows, columns), bool)
        if size is not None:
            inside = (abs(2 * down - size[0]) <= size[0])[:, None] & (abs(2 * across - size[1]) <= size[1])
        row, column = divmod(int(np.where(inside, self.values, -np.inf).argmax()), columns)
        return float(across[column]), float(down[row])

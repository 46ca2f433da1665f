"""A map over a model's view of a picture, and its way into the pixels of the file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from medvlp.core.errors import UserError

__all__ = ["AttentionMap", "overlay"]

_OPACITY = 0.6  # the strongest place still lets the picture through


@dataclass(frozen=True)
class AttentionMap:
    """Where the model looked, or where its score came from.

    Attributes:
        values: (rows, columns) float32 of the token grid.
        box: (x0, y0, x1, y1) of the model's view, in pixels of the source, where it is known.
        score: of what was asked.
    """

    values: np.ndarray
    box: tuple[float, float, float, float] | None
    score: float

    def in_source(self, height: int, width: int, *, mode: str = "bilinear") -> np.ndarray:
        """Return (height, width) float32 over the pixels of the source; 0 where the view does not reach.

        Args:
            height: rows of the source.
            width: its columns.
            mode: ``bilinear``, or ``nearest``: blocks of one value, as the released scripts make them.

        Raises:
            UserError: if it is not known where the view lies in the source.

        Example:
            >>> side = AttentionMap(np.array([[0.25, 0.75]], np.float32), (0.0, -1.0, 4.0, 3.0), 0.5)
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
        values = torch.from_numpy(self.values)[None, None]
        spread = torch.nn.functional.grid_sample(values, grid, mode=mode, padding_mode="border", align_corners=False)
        return np.where(inside, spread[0, 0].numpy(), 0).astype(np.float32)

    def peak(self) -> tuple[float, float]:
        """Return (x, y) of the middle of the highest cell, in pixels of the source where the view's place is known.

        Example:
            >>> AttentionMap(np.array([[0.25, 0.75]], np.float32), (0.0, 0.0, 40.0, 20.0), 0.5).peak()
            (30.0, 10.0)
        """
        rows, columns = self.values.shape
        row, column = divmod(int(self.values.argmax()), columns)
        x0, y0, x1, y1 = self.box or (0.0, 0.0, 1.0, 1.0)
        return x0 + (column + 0.5) * (x1 - x0) / columns, y0 + (row + 0.5) * (y1 - y0) / rows


def overlay(gray: np.ndarray, looked: AttentionMap) -> np.ndarray:
    """Return a picture (H, W) in [0, 1] with the positive part of a map over it in orange, uint8 (H, W, 3).

    Example:
        >>> left = AttentionMap(np.array([[1.0, 0.0]], np.float32), (0.0, 0.0, 8.0, 8.0), 0.5)
        >>> overlay(np.zeros((8, 8), np.float32), left)[4, [0, 7]].tolist()
        [[153, 76, 0], [0, 0, 0]]
    """
    heat = np.maximum(looked.in_source(*gray.shape), 0)
    share = (_OPACITY * heat / max(float(heat.max()), 1e-12))[..., None]
    mixed = (1 - share) * gray[..., None] + share * np.array([1.0, 0.5, 0.0], np.float32)
    return np.rint(255 * mixed.clip(0, 1)).astype(np.uint8)

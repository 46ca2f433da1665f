"""From the pixels of a view to those of its file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.sample import ImageRecord, Sample

__all__ = ["boxes_to_file", "mask_to_file", "record_of"]


def record_of(sample: Sample, view: str) -> ImageRecord:
    """Return how a view was made of its file.

    Raises:
        DataError: if nobody knows.
    """
    record = sample.records.get(view)
    if not isinstance(record, ImageRecord):
        raise DataError(
            f"It is not known how the field {view!r} of {sample.id!r} was made of its file: let a view read it."
        )
    return record


def mask_to_file(mask: Tensor, record: ImageRecord) -> NDArray[np.bool_]:
    """Bring a mask, bool (H, W) or (S, H, W), to the pixels of the file; False where the view does not reach.

    A view lies with its middle on the middle of its file, as `read` puts it, so that the file's size follows from its
    box.

    Example:
        >>> half = torch.tensor([[True, False], [True, False]])
        >>> mask_to_file(half, ImageRecord(seed=0, box=(0, -1, 4, 3))).astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    height, width = _size(record)
    rows = _looked_up(height, record.box[1], record.box[3], mask.shape[-2])
    columns = _looked_up(width, record.box[0], record.box[2], mask.shape[-1])
    if record.flip:
        columns = torch.where(columns >= 0, mask.shape[-1] - 1 - columns, columns)
    found = mask[..., rows.clamp(min=0)[:, None], columns.clamp(min=0)[None, :]]
    return (found & (rows >= 0)[:, None] & (columns >= 0)[None, :]).numpy()


def boxes_to_file(boxes: Tensor, record: ImageRecord, size: Sequence[int]) -> NDArray[np.float64]:
    """Bring boxes (n, 4) x0, y0, x1, y1 of a view to the pixels of the file, cut at its edge.

    Example:
        >>> boxes_to_file(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), ImageRecord(seed=0, box=(0, -1, 4, 3)), (2, 2)).tolist()
        [[0.0, 0.0, 2.0, 1.0]]
    """
    height, width = _size(record)
    found = boxes.double().numpy().copy()
    if record.flip:
        found[:, [0, 2]] = size[-1] - found[:, [2, 0]]
    x0, y0, x1, y1 = record.box
    found[:, 0::2] = (x0 + found[:, 0::2] * (x1 - x0) / size[-1]).clip(0, width)
    found[:, 1::2] = (y0 + found[:, 1::2] * (y1 - y0) / size[-2]).clip(0, height)
    return found


def _size(record: ImageRecord) -> tuple[int, int]:
    x0, y0, x1, y1 = record.box
    return round(y0 + y1), round(x0 + x1)


def _looked_up(count: int, first: float, last: float, cells: int) -> Tensor:
    """Cell of the view at the middle of each pixel of the file, -1 outside."""
    at = ((torch.arange(count) + 0.5 - first) * (cells / (last - first))).floor().long()
    return torch.where((at >= 0) & (at < cells), at, -1)

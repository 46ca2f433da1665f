"""From the pixels of a view to those of its file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.places import to_source
from medvlp.core.sample import ImageRecord, Sample

__all__ = ["boxes_to_file", "mask_to_file", "record_of"]


def record_of(sample: Sample, view: str) -> ImageRecord:
    """Return how a view was made of its file.

    Raises:
        DataError: if nobody knows.
    """
    record = sample.record(view)
    if record is None:
        raise DataError(
            f"It is not known how the field {view!r} of {sample.id!r} was made of its file: let a view read it."
        )
    return record


def mask_to_file(mask: Tensor, record: ImageRecord) -> NDArray[np.bool_]:
    """Bring a mask, bool (H, W) or (S, H, W), to the file; False where the view does not reach.

    Example:
        >>> import torch
        >>> record = ImageRecord(seed=0, box=(0, -1, 4, 3), source=(2, 4))
        >>> mask_to_file(torch.tensor([[True, False], [True, False]]), record).astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    return to_source(mask, record, tuple(mask.shape)).numpy()


def boxes_to_file(boxes: Tensor, record: ImageRecord, size: Sequence[int]) -> NDArray[np.float64]:
    """Bring boxes (n, 4) x0, y0, x1, y1 of a view of (H, W) to the file, cut at its edge.

    Example:
        >>> import torch
        >>> record = ImageRecord(seed=0, box=(0, -1, 4, 3), source=(2, 4))
        >>> boxes_to_file(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), record, (2, 2)).tolist()
        [[0.0, 0.0, 2.0, 1.0]]
    """
    return to_source(boxes, record, tuple(size)).double().numpy()

"""What answers in words read of pictures: one part of as many vectors for each, in the memory's own words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.models.architectures._towers import TowerModel

__all__ = ["memories", "refuse_ragged", "towers_of"]

_ROWS = 32  # a picture's tokens, keys and values of some layers: a group fits wherever the model does


def towers_of(model: object, head: str) -> TowerModel:
    """Return a model as one of towers that has a head.

    Raises:
        ConfigError: if it is none, or lacks the head or a text tower.
    """
    if not isinstance(model, TowerModel) or head not in model.heads or not model.reads_text:
        raise ConfigError(
            f"This model has no head {head!r} beside a text tower, which an answer in words needs: train it with the "
            f"objective that declares that answer."
        )
    return model


def refuse_ragged(reads: str) -> None:
    """Refuse tokens that differ in number from picture to picture: one table has as many for each.

    Raises:
        ConfigError: for the slices of a stack.
    """
    key = parse_key(reads)
    if key.view.startswith("stack") and key.part == "tokens":
        raise ConfigError(
            f"{reads!r} has as many tokens as a stack has slices: let the answer read a pooler of several queries."
        )


def memories(column: NDArray[np.float32], device: torch.device) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the pictures that are there, group by group: their rows, and their vectors (R, N, W).

    Args:
        column: (R, N, W), or (R, W) for one vector each; NaN where there is no picture.
        device: of the model.

    Example:
        >>> column = np.array([[1.0], [np.nan], [2.0]], dtype=np.float32)
        >>> [(rows, memory.shape) for rows, memory in memories(column, torch.device("cpu"))]
        [([0, 2], torch.Size([2, 1, 1]))]
    """
    there = np.flatnonzero(~np.isnan(column.reshape(len(column), -1)).any(axis=1)).tolist()
    for first in range(0, len(there), _ROWS):
        rows = there[first : first + _ROWS]
        memory = torch.from_numpy(np.ascontiguousarray(column[rows])).to(device)
        yield rows, memory if memory.dim() == 3 else memory[:, None]

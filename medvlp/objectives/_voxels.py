"""From a teacher's cells of slices to voxels, and how alike the voxels of a block are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.models.encoders.slices import unpacked
from medvlp.models.heads._dense import resize
from medvlp.state._model_teacher import ModelTeacher


@torch.no_grad()
def projected(teacher: ModelTeacher, tokens: Tensor) -> Tensor:
    """Return what a teacher's projection makes of pictures all of whose cells are one token, (N, M, W) -> (N, M, D).

    Its pooled vector is then that token, as often as poolings and columns stand side by side in it.

    Raises:
        ConfigError: if the projection does not read the pooled vector, or another width.
    """
    raw = dict(teacher.model.heads.items()).get("image/raw")
    tower = teacher.model.get_submodule("towers").get_submodule("image")
    width = cast("int", tower.width)
    if raw is None or raw.reads != ("pooled",) or width % tokens.shape[2]:
        raise ConfigError(
            "The teacher of clip2scene projects no single cells: name its part that does as `cells`, such as local."
        )
    flat = tokens.flatten(0, 1).repeat(1, width // tokens.shape[2])
    rows = Encoded(owner=torch.arange(len(flat), device=flat.device), pooled=flat)
    return raw(rows, "raw")["raw"].unflatten(0, tokens.shape[:2])


def spread(maps: Tensor, real: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Bring maps of slices to the voxels of volumes, (R, K, s, h, w), and tell which voxels are real, (R, s, h, w).

    Args:
        maps: (N, K, rows, columns), of all real slices one after the other.
        real: (R, S) bool, N of them True.
        size: s, h, w.

    Example:
        >>> maps, real = spread(torch.ones(1, 1, 1, 1), torch.tensor([[True, False]]), (2, 1, 2))
        >>> maps.flatten().tolist(), real.flatten().tolist()
        ([1.0, 1.0, 0.0, 0.0], [True, True, False, False])
    """
    there = real[:, None, :, None, None].to(maps).expand(-1, -1, -1, *size[1:])
    return resize(unpacked(maps, real).transpose(1, 2), size), resize(there, size)[:, 0] > 0.5


def cells_of(values: Tensor, cell: Sequence[int]) -> Tensor:
    """Cut (R, C, s, h, w) into blocks, padded with zeros at the end: (blocks, voxels of a block, C).

    Example:
        >>> cells_of(torch.arange(8.0).view(1, 1, 2, 2, 2), (2, 1, 2))[..., 0].tolist()
        [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]
    """
    pad = [(-n) % c for n, c in zip(values.shape[2:], cell, strict=True)]
    whole = F.pad(values, (0, pad[2], 0, pad[1], 0, pad[0])) if any(pad) else values
    for axis, side in zip((2, 4, 6), cell, strict=True):
        whole = whole.unflatten(axis, (-1, side))
    return whole.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(0, 3).flatten(1, 3)


def grouped(vectors: Tensor, texts: Tensor, labels: Tensor, real: Tensor) -> Tensor:
    """Return of each voxel the weighted mean of those of its block with its label, (C, n, D).

    Weights are the softmax, over them, of their products with the label's text.

    Args:
        vectors: (C, n, D).
        texts: (K, D).
        labels: (C, n).
        real: (C, n) bool; others weigh nothing.

    Example:
        >>> vectors = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [9.0, 9.0]]])
        >>> there = torch.tensor([[True, True, False]])
        >>> grouped(vectors, torch.zeros(1, 2), torch.zeros(1, 3, dtype=torch.int64), there)[0, 0].tolist()
        [2.0, 0.0]
    """
    scores = (vectors * texts[labels]).sum(2)
    same = (labels[:, :, None] == labels[:, None]) & real[:, None]
    same = same | torch.eye(labels.shape[1], dtype=torch.bool, device=labels.device)
    return scores[:, None].masked_fill(~same, float("-inf")).softmax(2) @ vectors


def agreement(
    place: Tensor, texts: Tensor, labels: Tensor, real: Tensor, *, cell: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the product of each voxel with the mean `grouped` of its block, (C, n), and which are real.

    Args:
        place: (R, D, s, h, w).
        texts: (K, D).
        labels: (R, s, h, w).
        real: (R, s, h, w) bool.
        cell: slices, rows and columns of a block.
    """
    blocks = [cells_of(each, cell) for each in (place, labels[:, None], real[:, None].to(labels))]
    vectors, own, there = blocks[0], blocks[1][..., 0], blocks[2][..., 0] > 0
    return (grouped(vectors, texts, own, there) * vectors).sum(2), there

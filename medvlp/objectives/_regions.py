"""Boxes of findings on own rows of a view, the phrases of findings, and boxes at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key


@dataclass(frozen=True)
class Regions:
    """M boxes, row by row.

    Attributes:
        boxes: (M, 4) x0, y0, x1, y1 in shares of the view's sides.
        row: (M,) own row of the key that each lies on, ascending.
        owner: (M,) its sample, counted over all processes.
        label: (M,) its finding, an index of the labels.
    """

    boxes: Tensor
    row: Tensor
    owner: Tensor
    label: Tensor


def regions_of(ctx: Context, key: str, labels: Sequence[str], *, most: int, name: str) -> Regions:
    """Return the boxes ``boxes.LABEL`` of a batch on own rows of a key, at most so many a row, drawn at random.

    Args:
        key: of an image view.
        labels: findings.
        most: boxes of a row; of more a draw of (seed, position, name) is taken.
        name: of the draw.
    """
    parsed = parse_key(key)
    sample = ctx.parts[parsed].owner.contiguous()
    boxes, row, label = [torch.zeros(0, 4, device=sample.device)], [sample[:0]], [sample[:0]]
    for index, finding in enumerate(labels):
        column = ctx.batch.columns.get(f"boxes.{finding}")
        if column is None or not len(column.owner) or not len(sample):
            continue
        at = torch.searchsorted(sample, column.owner.contiguous()) + (0 if column.place is None else column.place)
        there = sample[at.clamp(max=len(sample) - 1)] == column.owner
        pixels = ctx.batch[parsed.view].values  # a batch without pictures has no such field
        assert isinstance(pixels, Tensor), "pictures are tensors"
        assert isinstance(column.values, Tensor), "boxes are tensors"
        boxes.append(column.values[there].to(boxes[0]) / boxes[0].new_tensor((pixels.shape[-1], pixels.shape[-2]) * 2))
        row.append(at[there])
        label.append(torch.full_like(at[there], index))
    row = torch.cat(row)
    order = row.argsort(stable=True)
    place = _place(row[order])
    draws = ctx.uniform(int(place.max()) + 1 if len(place) else 1, name=name)[sample[row[order]], place]
    drawn = draws.argsort(stable=True)
    drawn = drawn[row[order][drawn].argsort(stable=True)]
    order = order[drawn[_place(row[order][drawn]) < most].sort().values]
    return Regions(torch.cat(boxes)[order], row[order], ctx.owner(key)[row[order]], torch.cat(label)[order])


def plane(ctx: Context, key: str) -> tuple[int, int]:
    """Return the rows and columns of a view's tokens.

    Raises:
        ConfigError: if they form no grid of two axes.
    """
    grid = ctx.grid(key)
    if len(grid) != 2:
        raise ConfigError(f"Boxes lie on pictures, and the tokens of {key!r} form a grid of {len(grid)} axes.")
    return grid[0], grid[1]


def phrases(ctx: Context, bank: str, labels: Sequence[str], *, objective: str) -> Tensor:
    """Return the embeddings of a bank that has a text for each label, in their order, (K, D).

    Raises:
        ConfigError: if it has another number of texts.
    """
    found = ctx[f"bank.{bank}/embedding"]
    if len(found) != len(labels):
        raise ConfigError(
            f"Objective {objective!r} has {len(labels)} labels and the bank {bank!r} {len(found)} texts: give each "
            "label one, in the same order."
        )
    return found


def random_boxes(draws: Tensor, *, area: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """Turn draws in [0, 1), (..., 4), into boxes in shares of a picture's sides.

    The area is uniform between two shares of the picture's, width / height uniform in logarithm, the place uniform; a
    side is at most the picture's.
    """
    share = area[0] + (area[1] - area[0]) * draws[..., 0]
    aspect = (math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * draws[..., 1]).exp()
    side = torch.stack([(share * aspect).sqrt(), (share / aspect).sqrt()], dim=-1).clamp(max=1)
    low = draws[..., 2:] * (1 - side)
    return torch.cat([low, low + side], dim=-1)


def _place(row: Tensor) -> Tensor:
    """Return which of its row each is, (M,), of ascending rows."""
    return torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)

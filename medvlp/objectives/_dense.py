"""Pictures' pixels beside what is drawn of them: masks by class, unknown apart from empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.sample import Column


@dataclass(frozen=True)
class Drawn:
    """Logits of R views and the masks of their K classes."""

    logits: Tensor  # (R, C, ...) with C channels, one a class or one more for the background
    masks: Tensor  # (R, K, ...) of their type, 1 inside; 0 where the class is unknown
    known: Tensor  # (R, K) bool, whether somebody looked for the class in this view
    real: Tensor | None  # (R, 1, S, 1, 1) bool, slices of a stack that are not padding; None where nothing is padded


def drawn(ctx: Context, view: str, part: str, labels: Sequence[str], *, classes: int) -> Drawn:
    """Put the masks ``mask.LABEL`` of a batch beside the logits of a view.

    Args:
        ctx: of one chunk.
        view: whose rows are read.
        part: of the logits.
        labels: K classes.
        classes: channels that the logits must have.

    Raises:
        ConfigError: if the head gives another number of channels.
        DataError: if a mask has another size than its view, or a sample another number of masks than of views.
    """
    logits = ctx[f"{view}/{part}"]
    if logits.shape[1] != classes:
        raise ConfigError(
            f"The head {part!r} gives {logits.shape[1]} channels and {classes} are taught: change labels."
        )
    owner = ctx.owner(f"{view}/{part}")
    masks = logits.new_zeros(len(logits), len(labels), *logits.shape[2:])
    known = torch.zeros(len(logits), len(labels), dtype=torch.bool, device=logits.device)
    for k, label in enumerate(labels):
        column = ctx.batch.columns.get(f"mask.{label}")
        if column is None or not len(column.owner):  # of a step without one nobody knows how large it would be
            continue
        at = rows_of(owner, column, field=f"mask.{label}")
        known[:, k] = at >= 0
        masks[known[:, k], k] = _sized(column, logits, field=f"mask.{label}")[at[at >= 0]]
    real = ctx.batch.columns[view].mask if view in ctx.batch else None
    return Drawn(logits, masks, known, None if real is None else real[:, None, :, None, None])


def rows_of(owner: Tensor, column: Column, *, field: str) -> Tensor:
    """Index of each view's row in a field, (R,), -1 where its sample has none; several views a sample go in order.

    Raises:
        DataError: if a sample has another number of rows than of views.

    Example:
        >>> field = Column(torch.zeros(3), torch.tensor([0, 2, 2]))
        >>> rows_of(torch.tensor([0, 1, 2, 2]), field, field="mask.lung").tolist()
        [0, -1, 1, 2]
    """
    own, theirs = owner.contiguous(), column.owner.contiguous()
    first = torch.searchsorted(theirs, own)
    count = torch.searchsorted(theirs, own, right=True) - first
    place = torch.searchsorted(own, own)
    views = torch.searchsorted(own, own, right=True) - place
    if bool(((count > 0) & (count != views)).any()):
        raise DataError(
            f"A sample has another number of rows of {field!r} than of views: give each view one, or none of them."
        )
    return torch.where(count > 0, first + torch.arange(len(own), device=own.device) - place, -1)


def pixel_mean(values: Tensor, real: Tensor | None) -> Tensor:
    """Mean over the pixels of (R, K, ...), padded slices left out: (R, K)."""
    if real is None:
        return values.flatten(2).mean(2)
    pixels = real.sum((1, 2, 3, 4))[:, None] * (values.shape[3] * values.shape[4])
    return (values * real).flatten(2).sum(2) / pixels.clamp(min=1)


def _sized(column: Column, logits: Tensor, *, field: str) -> Tensor:
    """Return the masks with as many slices as the logits have: stacks are padded to the longest that has a mask."""
    values = column.values
    assert isinstance(values, Tensor)
    short = logits.shape[2] - values.shape[1] if values.dim() == 4 else 0
    if short > 0:
        values = torch.cat([values, values.new_zeros(len(values), short, *values.shape[2:])], dim=1)
    if values.shape[1:] != logits.shape[2:]:
        raise DataError(
            f"{field!r} has the size {_by(values.shape[1:])} and its view {_by(logits.shape[2:])}: let the views that "
            f"shape the picture shape its masks."
        )
    return values.to(logits.dtype)


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))

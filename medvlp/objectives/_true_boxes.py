"""The boxes ``boxes.LABEL`` drawn on each own row of a view, and of which labels it is known where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import parse_key
from medvlp.core.sample import Column


@dataclass(frozen=True)
class Truth:
    """What one view holds.

    Attributes:
        boxes: (n, 4) cx, cy, w, h in [0, 1].
        classes: (n,) of the boxes.
        known: (K,) bool, of which classes it is known where they are.
    """

    boxes: Tensor
    classes: Tensor
    known: Tensor


def true_boxes(ctx: Context, key: str, labels: Sequence[str]) -> list[Truth]:
    """Return what each own row of a key holds, its boxes label by label.

    Args:
        key: of an image view.
        labels: K classes, fields ``boxes.LABEL``.
    """
    rows = ctx[key]
    if not len(rows):
        return []
    pixels, owner = ctx.batch[parse_key(key).view].values, ctx.owner(key).tolist()
    assert isinstance(pixels, Tensor)
    size = rows.new_tensor((pixels.shape[-1], pixels.shape[-2]) * 2)
    columns = [ctx.batch.columns.get(f"boxes.{label}") for label in labels]
    found = []
    for row, sample in enumerate(owner):
        place = row - owner.index(sample)
        each = [_boxes_of(column, sample, place) for column in columns]
        parts = [rows.new_zeros(0, 4) if b is None else b.to(rows) / size for b in each]
        counts = torch.tensor([len(b) for b in parts], device=rows.device)
        corners = torch.cat(parts)
        middle, side = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        classes = torch.arange(len(parts), device=rows.device).repeat_interleave(counts)
        known = torch.tensor([b is not None for b in each], device=rows.device)
        found.append(Truth(torch.cat([middle, side], dim=1), classes, known))
    return found


def _boxes_of(column: Column | None, sample: int, place: int) -> Tensor | None:
    """Boxes of one view of a sample, (n, 4); None where it is not known where they are."""
    if column is None or (column.known is not None and not bool(column.known[sample])):
        return None
    here = column.owner == sample
    # Without word of it, what has a box is known.
    if column.known is None and not bool(here.any()):
        return None
    values = column.values
    assert isinstance(values, Tensor)
    return values[here if column.place is None else here & (column.place == place)]

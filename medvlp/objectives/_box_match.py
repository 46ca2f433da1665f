"""The true boxes of views, and queries of a detector matched one to one with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import DataError
from medvlp.core.keys import parse_key
from medvlp.core.sample import Column


@torch.no_grad()
def match(
    boxes: Tensor, logits: Tensor, true_boxes: Tensor, true_classes: Tensor, *, l1: float, giou: float
) -> tuple[Tensor, Tensor]:
    """Return indices of matched queries and true boxes, (n,) each: the assignment of the least cost.

    Args:
        boxes: (Q, 4) cx, cy, w, h.
        logits: (Q, K + 1).
        true_boxes: (n, 4).
        true_classes: (n,).
        l1: weight of the distance.
        giou: weight of the overlap.

    Raises:
        DataError: if there are more boxes than queries.
    """
    from scipy.optimize import linear_sum_assignment
    from torchvision.ops import box_convert, generalized_box_iou

    if len(true_boxes) > len(boxes):
        raise DataError(f"A view has {len(true_boxes)} boxes and {len(boxes)} queries look for them: raise queries.")
    overlap = generalized_box_iou(*(box_convert(each, "cxcywh", "xyxy") for each in (boxes, true_boxes)))
    cost = l1 * torch.cdist(boxes, true_boxes, p=1) - giou * overlap - logits.softmax(-1)[:, true_classes]
    # A model that diverged is the guard's to tell of, from the loss.
    query, true = linear_sum_assignment(cost.nan_to_num(1e6, 1e6, -1e6).cpu().numpy())
    return (torch.as_tensor(query, device=boxes.device), torch.as_tensor(true, device=boxes.device))


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


def truths_of(ctx: Context, key: str, labels: Sequence[str]) -> list[Truth]:
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

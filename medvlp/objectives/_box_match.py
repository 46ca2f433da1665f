"""Queries of a detector matched one to one with true boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core.errors import DataError


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

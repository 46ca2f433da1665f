"""Stated pairs of boxes matched with pairs of queries, and the losses of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.objectives._pairs import Pairs
from medvlp.text.relations import PRESENT


def overlaps(boxes: Tensor, true: Tensor) -> Tensor:
    """Return the GIoU of subjects and of objects, (..., 2), of boxes (..., 8) each; NaN where the true one is."""
    from torchvision.ops import box_convert, generalized_box_iou_loss

    one, other = (box_convert(each.unflatten(-1, (2, 4)), "cxcywh", "xyxy") for each in (boxes, true))
    return 1 - generalized_box_iou_loss(one, other)


@dataclass(frozen=True)
class Matched:
    """The M stated pairs of all rows, row by row, with the query of each.

    Attributes:
        row: (M,) own row.
        query: (M,).
        true: the pairs.
        known: (R,) bool, of which rows something is known.
    """

    row: Tensor
    query: Tensor
    true: Pairs
    known: Tensor

    @property
    def at(self) -> tuple[Tensor, Tensor]:
        """Row and query, to index what is (R, Q, ...)."""
        return self.row, self.query

    def losses(self, logits: Tensor, right: Tensor, *, no_object: float) -> tuple[Tensor, Tensor]:
        """Return the cross entropy of each query, (R Q,), and its weight, 0 in rows of which nothing is known.

        The weight of a query is 0, too, whose pair is uncertain.

        Args:
            logits: (R, Q, K + 1), the last "nothing", which unmatched queries are.
            right: (M,) classes of the matched ones.
            no_object: weight of unmatched ones; that of matched sure ones is 1.
        """
        target = torch.full_like(logits[..., 0], logits.shape[2] - 1, dtype=torch.int64).index_put(self.at, right)
        weight = torch.full_like(logits[..., 0], no_object).index_put(self.at, self.true.sure.to(logits))
        losses = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
        return losses, (weight * self.known[:, None]).flatten()


@torch.no_grad()
def match_pairs(found: Sequence[Tensor], truths: Sequence[Pairs | None], *, l1: float, giou: float) -> Matched:
    """Match stated pairs with queries, row by row: the assignment of the least cost by the Hungarian method.

    The cost is - p(subject) - p(object) - (mean p of stated + mean 1 - p of unstated predicates) / 2, uncertain ones
    left out, + l1 |b - b'|_1 - giou GIoU, each of the worse of two known boxes.

    Args:
        found: boxes (R, Q, 8), and logits of subjects (R, Q, E + 1), of objects and of predicates (R, Q, P).
        truths: R.
        l1: weight of the distance.
        giou: weight of the overlap.

    Raises:
        DataError: if a row has more pairs than queries.
    """
    from scipy.optimize import linear_sum_assignment

    boxes, subjects, objects, predicates = found
    none = torch.zeros(0, dtype=torch.int64, device=boxes.device)
    some = [Pairs(boxes.new_zeros(0, 8), none, none, predicates.new_zeros(0, predicates.shape[2]))]
    some += [truth for truth in truths if truth is not None]
    true = Pairs(
        torch.cat([each.boxes.to(boxes) for each in some]),
        torch.cat([each.subjects for each in some]),
        torch.cat([each.objects for each in some]),
        torch.cat([each.predicates.to(boxes) for each in some]),
    )
    counts = torch.tensor(
        [0 if truth is None else len(truth.subjects) for truth in truths], dtype=torch.int64, device=boxes.device
    )
    most, queries = max([0, *counts.tolist()]), boxes.shape[1]
    if most > queries:
        raise DataError(f"A picture has {most} relations and {queries} queries look for them: raise queries.")
    row = torch.arange(len(boxes), device=boxes.device).repeat_interleave(counts)
    every = torch.arange(len(row), device=boxes.device)
    shares = [(true.predicates == which).to(boxes) for which in (PRESENT, 0.0)]
    stated, other = (each / each.sum(1, keepdim=True).clamp(min=1) for each in shares)
    cost = -subjects.softmax(2)[row][every, :, true.subjects] - objects.softmax(2)[row][every, :, true.objects]
    holds = predicates.sigmoid()[row]
    cost = cost - ((holds * stated[:, None]).sum(2) + ((1 - holds) * other[:, None]).sum(2)) / 2
    own, placed = boxes[row], true.boxes[:, None].expand(-1, queries, -1)
    far = (own - placed).abs().nan_to_num(0).unflatten(2, (2, 4)).sum(3).amax(2)
    # Where no box is known the overlap is the same for all queries, and no query is preferred.
    cost = cost + l1 * far - giou * overlaps(own, placed).nan_to_num(1).amin(2)
    # A model that diverged is the guard's to tell of, from the loss.
    tables = cost.nan_to_num(1e6, 1e6, -1e6).cpu().split(counts.tolist()) if len(counts) else ()
    query = [torch.as_tensor(linear_sum_assignment(table.numpy())[1]) for table in tables]  # pairs come in their order
    known = torch.tensor([truth is not None for truth in truths], dtype=torch.bool, device=boxes.device)
    return Matched(row, torch.cat([row.new_zeros(0), *(each.to(row) for each in query)]), true, known)

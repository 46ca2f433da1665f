"""Detection as the prediction of a set: each true box is matched with one query, the other queries say "nothing"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys
from medvlp.core.sample import Column
from medvlp.core.term import Term, Terms
from medvlp.objectives._labelled import Labelled

__all__ = ["BoxSet", "match"]


@dataclass(frozen=True)
class _Truth:
    """What one view holds: boxes (n, 4) as cx, cy, w, h in [0, 1], their classes (n,), and which classes are known."""

    boxes: Tensor
    classes: Tensor
    known: Tensor


class BoxSet(Labelled):
    r"""DETR's set loss (Carion et al. 2020, eq. 1, 2 and appendix A.2).

    In each view the true boxes b with classes c are matched one to one with queries by the Hungarian method (scipy)
    under the cost

        - p(c) + l1 |b - b'|_1 - giou GIoU(b, b')

    Then, with sums over all matched pairs, the number of true boxes of all processes and chunks, and torchvision's
    GIoU::

        box = l1 sum |b - b'|_1 / boxes
        overlap = giou sum (1 - GIoU(b, b')) / boxes
        class = - sum w log p(c) / sum w

    where an unmatched query has the class "no object" and the weight w = `no_object`, a matched one 1. The earlier
    layers of the decoder are matched and taught likewise, and added.

    A class is the field ``boxes.LABEL``. In a sample of which it is not known where a class is, its probability is
    added to that of "no object". A sample of which nothing is known takes no part.

    Args:
        labels: K classes.
        view: of images.
        part: name of the head.
        head: component of `models/heads` that gives boxes.
        l1: above; DETR's.
        giou: above; DETR's.
        no_object: above; DETR's.

    Returns:
        ``box``, ``overlap`` and ``class``.

    Raises:
        ConfigError: for labels, a view or a head that cannot be.

    Example:
        >>> sorted(map(str, BoxSet(labels=["nodule"]).needs()))
        ['boxes.nodule', 'image/boxes', 'image/boxes_layers', 'image/boxes_logits']
    """

    field, answer = "boxes", "boxes"

    def __init__(
        self,
        *,
        labels: list[str],
        view: str = "image",
        part: str = "boxes",
        head: dict[str, Any] = {"name": "box_queries"},  # noqa: B006  (read only; the default is part of the schema)
        l1: Annotated[float, Field(ge=0)] = 5.0,
        giou: Annotated[float, Field(ge=0)] = 2.0,
        no_object: Annotated[float, Field(gt=0)] = 0.1,
    ) -> None:
        if parse_field(view).kind != "image":
            raise ConfigError(
                f"Objective 'box_set' finds boxes in images, not in {view!r}: set view to an image field."
            )
        super().__init__(objective="box_set", labels=labels, view=view, part=part, head=head)
        self.l1, self.giou, self.no_object = l1, giou, no_object

    def needs(self) -> frozenset[Key]:
        """Boxes and classes of all layers, and the true boxes."""
        return super().needs() | keys(f"{self.key}_logits", f"{self.key}_layers")

    def forward(self, ctx: Context) -> Terms:
        """Return the three terms."""
        boxes, logits, earlier = (ctx[f"{self.key}{part}"] for part in ("", "_logits", "_layers"))
        truths = self._truths(ctx, self.key, boxes)
        layers = [(boxes, logits), *((each[..., :4], each[..., 4:]) for each in earlier.unbind(1))]
        sums = torch.stack([self._sums(*layer, truths) for layer in layers])  # (L, 4)
        count = boxes.new_tensor(float(sum(len(truth.boxes) for truth in truths)))
        box, overlap, classes, _ = sums.sum(0)
        return {
            "box": Term(self.l1 * box, count),
            "overlap": Term(self.giou * overlap, count),
            "class": Term(classes, sums[0, 3].detach()),
        }

    def _sums(self, boxes: Tensor, logits: Tensor, truths: Sequence[_Truth]) -> Tensor:
        """Sums over the views of one layer: L1, 1 - GIoU, weighted cross entropy, weights."""
        from torchvision.ops import box_convert, generalized_box_iou_loss

        total = torch.stack([boxes.sum(), logits.sum(), *logits.new_zeros(2)]) * 0  # differentiable without a view
        for own, scores, truth in zip(boxes, logits, truths, strict=True):
            if not bool(truth.known.any()):
                continue
            query, true = match(own, scores, truth.boxes, truth.classes, l1=self.l1, giou=self.giou)
            found, drawn = own[query], truth.boxes[true]
            corners = (box_convert(each, "cxcywh", "xyxy") for each in (found, drawn))
            logs = scores.log_softmax(-1)
            losses = -_nothing(logs, truth.known)
            weights = torch.full_like(losses, self.no_object)
            losses = losses.index_put((query,), -logs[query, truth.classes[true]])
            weights[query] = 1.0
            overlap = generalized_box_iou_loss(*corners, reduction="sum")
            total = total + torch.stack([(found - drawn).abs().sum(), overlap, (losses * weights).sum(), weights.sum()])
        return total

    def _truths(self, ctx: Context, key: str, boxes: Tensor) -> list[_Truth]:
        if not len(boxes):
            return []
        pixels, owner = ctx.batch[self.view].values, ctx.owner(key).tolist()
        assert isinstance(pixels, Tensor)
        size = boxes.new_tensor((pixels.shape[-1], pixels.shape[-2]) * 2)
        columns = [ctx.batch.columns.get(f"boxes.{label}") for label in self.labels]
        found = []
        for row, sample in enumerate(owner):
            place = row - owner.index(sample)
            each = [_boxes_of(column, sample, place) for column in columns]
            parts = [boxes.new_zeros(0, 4) if b is None else b.to(boxes) / size for b in each]
            counts = torch.tensor([len(b) for b in parts], device=boxes.device)
            corners = torch.cat(parts)
            middle, side = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
            classes = torch.arange(len(parts), device=boxes.device).repeat_interleave(counts)
            known = torch.tensor([b is not None for b in each], device=boxes.device)
            found.append(_Truth(torch.cat([middle, side], dim=1), classes, known))
        return found


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

    Example:
        >>> boxes = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]])
        >>> query, true = match(boxes, torch.zeros(2, 2), boxes[1:], torch.tensor([0]), l1=5.0, giou=2.0)
        >>> query.tolist(), true.tolist()
        ([1], [0])
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


def _nothing(logs: Tensor, known: Tensor) -> Tensor:
    """Log probability of "no object or a class of which nothing is known", (Q,)."""
    hidden = torch.cat([~known, torch.ones_like(known[:1])])
    return logs[:, hidden].logsumexp(1)


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

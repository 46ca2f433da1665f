"""Detection as the prediction of a set: each true box is matched with one query, the other queries say "nothing"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys
from medvlp.core.term import Term, Terms
from medvlp.objectives._box_match import Truth, match, truths_of
from medvlp.objectives._labelled import Labelled


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
        truths = truths_of(ctx, self.key, self.labels)
        layers = [(boxes, logits), *((each[..., :4], each[..., 4:]) for each in earlier.unbind(1))]
        sums = torch.stack([self._sums(*layer, truths) for layer in layers])  # (L, 4)
        count = boxes.new_tensor(float(sum(len(truth.boxes) for truth in truths)))
        box, overlap, classes, _ = sums.sum(0)
        return {
            "box": Term(self.l1 * box, count),
            "overlap": Term(self.giou * overlap, count),
            "class": Term(classes, sums[0, 3].detach()),
        }

    def _sums(self, boxes: Tensor, logits: Tensor, truths: Sequence[Truth]) -> Tensor:
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
            # "No object" is also a class of which nothing is known.
            losses = -logs[:, torch.cat([~truth.known, torch.ones_like(truth.known[:1])])].logsumexp(1)
            weights = torch.full_like(losses, self.no_object)
            losses = losses.index_put((query,), -logs[query, truth.classes[true]])
            weights[query] = 1.0
            overlap = generalized_box_iou_loss(*corners, reduction="sum")
            total = total + torch.stack([(found - drawn).abs().sum(), overlap, (losses * weights).sum(), weights.sum()])
        return total

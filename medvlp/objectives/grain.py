"""GRAIN (Halbe et al. 2024): queries of a picture are matched with boxes, and each tells which finding it holds."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._box_match import match
from medvlp.objectives._contrast import contrast
from medvlp.objectives._regions import Regions, phrases, regions_of


class Grain(Objective):
    r"""Boxes of matched queries, and contrast of matched queries with phrases.

    In each picture at most Q drawn boxes b are matched one to one with its Q queries by the Hungarian method under the
    cost 5 |b - b'|_1 - 2 GIoU(b, b'), whatever they are called. Then, over all matched pairs of all processes::

        box     = mean |b - b'|_1            overlap = mean (1 - GIoU(b, b'))
        region  = mean of contrast(s cos(r, t)) of a matched query's vector r with the phrases of all findings

    where s is the model's logit scale and the phrase of the box's own finding is the positive. The decoder's earlier
    layers are matched and taught their boxes likewise, and added. The picture itself is one more query of the same
    decoder: give the model a head ``region_queries`` and an ``image/raw`` that reads it, and the objective `clip`
    beside this one is GRAIN's image loss. A picture without boxes has that loss alone.

    Args:
        labels: findings, whose boxes are the fields ``boxes.LABEL``.
        bank: a phrase for each, in their order.
        image: view of the pictures.
        part: what the head ``region_queries`` is mounted as.
        l1: weight of ``box``.
        giou: weight of ``overlap``.

    Returns:
        ``box``, ``overlap`` and ``region``.

    Raises:
        ConfigError: without labels; by a batch, for a bank of another length.

    Note:
        A query that is matched with nothing is taught nothing: unlike `box_set` no class says "nothing here", so
        regions of a normal picture mean as little as those of one that nobody has drawn on.

    References:
        Halbe et al. 2024 (Grounding descriptions in images informs zero-shot visual recognition), section 3.

    Example:
        >>> sorted(map(str, Grain(labels=["nodule"], bank="findings").needs()))[:3]
        ['bank.findings/embedding', 'boxes.nodule', 'image/grain']
    """

    def __init__(
        self,
        *,
        labels: list[str],
        bank: str,
        image: str = "image",
        part: str = "grain",
        l1: Annotated[float, Field(ge=0)] = 1.0,
        giou: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        super().__init__()
        if not labels:
            raise ConfigError("Objective 'grain' has no labels: name the findings that have boxes.")
        self.labels, self.bank = tuple(labels), bank
        self.key = f"{image}/{part}"
        self.l1, self.giou = l1, giou

    def needs(self) -> frozenset[Key]:
        """What the head gives, the phrases and the boxes."""
        given = (self.key, *(f"{self.key}_{part}" for part in ("regions", "boxes", "layers")))
        return keys(*given, f"bank.{self.bank}/embedding", *(f"boxes.{label}" for label in self.labels))

    def forward(self, ctx: Context) -> Terms:
        """Return the three terms."""
        regions, boxes, earlier = (ctx[f"{self.key}_{part}"] for part in ("regions", "boxes", "layers"))
        found = regions_of(ctx, self.key, self.labels, most=boxes.shape[1], name="boxes of grain")
        count = boxes.new_tensor(float(len(found.row)))
        box, overlap = boxes.sum() * 0 + earlier.sum() * 0, boxes.sum() * 0  # differentiable without a box
        for layer in (*earlier.unbind(1), boxes):
            query, true = _matched(layer, found)
            off, apart = _apart(layer[found.row[true], query], found.boxes[true].to(layer))
            box, overlap = box + off, overlap + apart
        rows = unit(regions)[found.row[true], query]  # of the last layer
        scores = ctx.scale(rows @ phrases(ctx, self.bank, self.labels, objective="grain").T)
        return {
            "box": Term(self.l1 * box, count),
            "overlap": Term(self.giou * overlap, count),
            "region": contrast(scores, found.label[true]),
        }


def _matched(boxes: Tensor, truth: Regions) -> tuple[Tensor, Tensor]:
    """Return queries (M,) and the boxes that they are matched with, over all pictures: boxes (R, Q, 4) of one layer."""
    from torchvision.ops import box_convert

    queries, trues = [truth.row[:0]], [truth.row[:0]]
    for row in truth.row.unique().tolist():
        here = (truth.row == row).nonzero().flatten()
        drawn = box_convert(truth.boxes[here].to(boxes), "xyxy", "cxcywh")
        no_class = boxes.new_zeros(boxes.shape[1], 1)
        query, true = match(boxes[row], no_class, drawn, torch.zeros_like(here), l1=5.0, giou=2.0)
        queries.append(query)
        trues.append(here[true])
    return torch.cat(queries), torch.cat(trues)


def _apart(boxes: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums of |b - b'|_1 and 1 - GIoU of boxes as centre and size and drawn ones as corners, (M, 4) each."""
    from torchvision.ops import box_convert, generalized_box_iou_loss

    corners = box_convert(boxes, "cxcywh", "xyxy")
    off = (boxes - box_convert(drawn, "xyxy", "cxcywh")).abs().sum()
    return off, generalized_box_iou_loss(corners, drawn, reduction="sum")

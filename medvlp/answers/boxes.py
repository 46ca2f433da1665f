"""Boxes of findings, in the pixels of the file."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medvlp.answers._pixels import OverPixels, asked_labels, record_of, single
from medvlp.core.answers import Ask, Rows
from medvlp.core.keys import Plan, keys
from medvlp.core.modes import evaluating
from medvlp.core.places import to_source
from medvlp.core.predictions import BoxSet, Predictions
from medvlp.core.protocols import Model


class Boxes(OverPixels):
    """Boxes by a head like `box_queries`: of each query the likeliest class, if that is likely enough.

    Args:
        labels: in the order of the logits, whose last is "no object".
        part: of the boxes; ``PART_logits`` are their classes.
        threshold: least probability of a box that is told; torchvision's detectors' default.
        nms: intersection over union from which the weaker of two boxes of one label is dropped; None: none is, as in
            DETR, whose queries agree among themselves.

    Raises:
        ConfigError: for a label that it does not know.
        DataError: for a picture of which nobody knows how it was made of its file.

    Example:
        >>> Boxes(labels=["nodule"]).released()
        {'labels': ['nodule'], 'part': 'boxes', 'threshold': 0.05, 'nms': None}
    """

    gives: ClassVar[frozenset[str]] = frozenset({"boxes"})
    title = "Boxes"

    def __init__(
        self,
        *,
        labels: list[str],
        part: str = "boxes",
        threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05,
        nms: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.part = part
        self.threshold = threshold
        self.nms = nms

    def answer(self, rows: Rows, ask: Ask, begun: Model) -> Predictions:
        """Find the boxes of each sample, surest first; one without a picture has none."""
        wanted = asked_labels(self.labels, ask)
        device = next(begun.parameters()).device
        found: list[BoxSet] = []
        with torch.no_grad(), evaluating(begun):
            for sample in rows.samples:
                batch = single(sample, "image", what="boxes are found")
                if batch is None:
                    found.append(BoxSet(np.zeros((0, 4)), np.zeros(0), ()))
                    continue
                encoded = begun(batch.to(device), self._plan(begun))["image"]
                boxes, logits = encoded.part(self.part)[0].float().cpu(), encoded.part(f"{self.part}_logits")[0].float()
                pixels = batch["image"].values
                assert isinstance(pixels, Tensor)
                size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
                boxes, scores, classes = self._chosen(boxes, logits.cpu(), size)
                names = tuple(self.labels[k] for k in classes.tolist())
                there = [i for i, name in enumerate(names) if name in wanted]
                corners = to_source(boxes[there], record_of(sample, "image"), size).double().numpy()
                found.append(BoxSet(corners, scores[there].double().numpy(), tuple(names[i] for i in there)))
        return Predictions(tuple(sample.id for sample in rows.samples), boxes=tuple(found))

    def _chosen(self, boxes: Tensor, logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Corners in pixels of the view, scores and classes of the boxes that are told, surest first."""
        from torchvision.ops import batched_nms, box_convert

        corners = box_convert(boxes, "cxcywh", "xyxy") * boxes.new_tensor((size[1], size[0]) * 2)
        scores, classes = logits.softmax(-1)[:, :-1].max(-1)
        order = scores.argsort(descending=True, stable=True)
        order = order[scores[order] > self.threshold]
        if self.nms is not None:
            order = order[batched_nms(corners[order], scores[order], classes[order], self.nms)]
        return corners[order], scores[order], classes[order]

    def _plan(self, model: Model) -> Plan:
        return Plan.of(keys(f"image/{self.part}", f"image/{self.part}_logits"))

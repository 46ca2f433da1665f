"""DITO's detector (Kim et al. 2024): a box head learns the classes of proposed boxes by their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._regions import regions_of


class DitoDetector(Objective):
    r"""Cross entropy of proposed boxes over the texts of taught classes and the background.

    A proposal that overlaps a drawn box by `iou` or more (intersection over union, the best one) has its class, any
    other is background, with the weight `background`; with s the head's logits::

        class = - sum w log softmax(s over taught classes and background)_y / sum w

    Untaught classes take no part: they are found by their texts alone. Proposals come from the head of boxes, which
    another objective (`box_set`) teaches. Pictures of which no box is known teach nothing.

    Args:
        labels: taught classes, fields ``boxes.LABEL``; the bank's first texts.
        novel: further classes, the bank's other texts.
        bank: texts, encoded by the text tower.
        image: view of the pictures.
        proposals: name of the head of boxes.
        part: name of the head.
        head: options of the head `dito_detector`.
        iou: above.
        background: above; the released 0.9.

    Returns:
        ``class``.

    Raises:
        ConfigError: for classes that stand twice.

    Note:
        A novel finding that lies undrawn in a training picture is taught as background.

    References:
        Kim et al. 2024 (Region-centric image-language pretraining for open-vocabulary detection). The box head starts
        afresh here, not from the one that `dito` pretrained.

    Example:
        >>> objective = DitoDetector(labels=["nodule"], novel=["effusion"], bank="names")
        >>> sorted(map(str, objective.needs()))
        ['boxes.nodule', 'image/dito_detector', 'image/dito_detector_scores']
    """

    scope: Literal["batch", "sample"] = "sample"

    def __init__(
        self,
        *,
        labels: list[str],
        bank: str,
        novel: list[str] = [],  # noqa: B006  (read only; the default is part of the schema)
        image: str = "image",
        proposals: str = "boxes",
        part: str = "dito_detector",
        head: dict[str, Any] = {},  # noqa: B006
        iou: Annotated[float, Field(gt=0, le=1)] = 0.5,
        background: Annotated[float, Field(gt=0)] = 0.9,
    ) -> None:
        super().__init__()
        every = [*labels, *novel]
        if not labels or len(set(every)) < len(every):
            raise ConfigError(
                f"Objective 'dito_detector' has the classes {every}: name each once, at least one taught."
            )
        self.labels, self.novel, self.part = tuple(labels), tuple(novel), part
        self.key = f"{image}/{part}"
        options = {**head, "classes": len(every), "taught": len(labels), "bank": bank, "proposals": proposals}
        self.head = HeadSpec("dito_detector", options, keep=True)
        self.iou, self.background = iou, background

    def needs(self) -> frozenset[Key]:
        """What the head gives, and the drawn boxes."""
        return keys(self.key, f"{self.key}_scores", *(f"boxes.{label}" for label in self.labels))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The head."""
        return {self.part: self.head}

    def answers(self) -> Sequence[AnswerSpec]:
        """Boxes of taught and of novel classes."""
        options = {"part": self.part, "labels": [*self.labels, *self.novel], "nms": 0.5}
        return (AnswerSpec("boxes", options, alias=self.part),)

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        from torchvision.ops import box_convert, box_iou

        boxes, scores = ctx[self.key].detach(), ctx[f"{self.key}_scores"]
        taught = torch.cat([scores[..., : len(self.labels)], scores[..., -1:]], dim=2)
        found = regions_of(ctx, self.key, self.labels, most=64, name="boxes of dito_detector")
        target = torch.full(taught.shape[:2], len(self.labels), device=taught.device)
        for row in found.row.unique().tolist():
            here = found.row == row
            overlap, best = box_iou(box_convert(boxes[row], "cxcywh", "xyxy"), found.boxes[here].to(boxes)).max(dim=1)
            target[row] = torch.where(overlap >= self.iou, found.label[here][best], target[row])
        weight = torch.where(target < len(self.labels), 1.0, self.background).to(taught)
        weight = weight * self._known(ctx)[:, None].to(taught)
        losses = F.cross_entropy(taught.flatten(0, 1), target.flatten(), reduction="none")
        return {"class": Term.of(losses, weight.flatten())}

    def _known(self, ctx: Context) -> Tensor:
        """Whether boxes of some class are known of each own row's picture, (R,)."""
        owner = ctx.parts[parse_key(self.key)].owner
        known = torch.zeros(ctx.batch.size, dtype=torch.bool, device=owner.device)
        for label in self.labels:
            column = ctx.batch.columns.get(f"boxes.{label}")
            if column is not None and column.known is not None:
                known |= column.known
            elif column is not None:
                known[column.owner] = True
        return known[owner] & (owner >= 0)

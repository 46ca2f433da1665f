"""A segmenter in one file: pixels of findings by a head that draws maps, as somebody outside medvlp would write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.term import Term, Terms


class DrawnPixels(Objective):
    """Binary cross entropy of every pixel of every label."""

    scope = "sample"

    def __init__(self, *, labels: list[str]) -> None:
        super().__init__()
        self.labels = labels

    def needs(self) -> frozenset[Key]:
        return keys("image/segmentation", *(f"mask.{label}" for label in self.labels))

    def heads(self) -> Mapping[str, HeadSpec]:
        return {"segmentation": HeadSpec("unet", {"classes": len(self.labels), "width": 8, "most": 16}, keep=True)}

    def answers(self) -> Sequence[AnswerSpec]:
        return (AnswerSpec("segmentation", {"labels": self.labels}),)

    def forward(self, ctx: Context) -> Terms:
        logits = ctx["image/segmentation"]
        masks = [ctx.rows(f"mask.{label}", "image/segmentation").one() for label in self.labels]
        truth = torch.stack(masks, dim=1).to(logits)
        losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return {"pixels": Term.of(losses.flatten(1).mean(dim=1))}

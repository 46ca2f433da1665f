"""A perturbation that is the same for everybody: one change of all pictures, one word for all reports."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from medvlp.adaptation.attacks._surrogate import held, pixels_of, with_pixels, with_texts
from medvlp.adaptation.attacks._words import by_importance, replaced
from medvlp.core.attack import Ball
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch


@dataclass(frozen=True)
class Universal:
    """A change of all pictures, and a word for the most important one of a text.

    Attributes:
        ball: in which it is.
        change: (1, C, H, W).
        word: a real word; empty: texts stay.
        model: by which the importance of words is measured.
        keep_meaning: whether a word gives way only where the report still says the same.
    """

    ball: Ball
    change: Tensor
    word: str
    model: Model
    keep_meaning: bool

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with moved pictures and, where there is a word, other texts."""
        images = pixels_of(batch)
        moved = with_pixels(batch, self.ball.add(images, self.change.to(images.device)))
        if not self.word:
            return moved
        texts = batch.strings("text")
        with held(self.model):
            ranked = by_importance(self.model, texts)
        pairs = zip(texts, ranked, strict=True)
        return with_texts(moved, [replaced(t, own, self.word, keep_meaning=self.keep_meaning)[0] for t, own in pairs])

"""C-PGC: one change of all pictures and one word for all reports, from a generator (Fang et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.adaptation.attacks._generators import ChangeGenerator, WordGenerator, malicious_loss, train
from medvlp.adaptation.attacks._surrogate import Seen, embedded, held, parts_of, pixels_of, with_pixels, with_texts
from medvlp.adaptation.attacks._words import by_importance, marked, real_words, replaced, text_tower, vector_at
from medvlp.core.attack import Attack, Ball
from medvlp.core.protocols import Model
from medvlp.core.randomness import torch_generator
from medvlp.core.sample import Batch


class CPgc(Attack):
    """A generator learns, by contrast turned around, one perturbation that parts any picture from its own text.

    Of a picture moved by d, with P the mean of exp(cos / tau) to its own text and N that to the text of the fitted rows
    least like the clean picture, both over resized views, ``L = log(P / (P + N)) - alpha |f(x + d) - f(x)|^2`` is made
    small: the picture leaves its own text for the farthest one, and its clean embedding. So is that of a text whose
    most important word is the generator's vector, against pictures; at the end the nearest real word stands for the
    vector. The change (1, C, H, W) and the word serve every picture and report.

    Args:
        epsilon: gray levels (1/255), in the largest norm; the paper's 12.
        epochs: over the batches that it is fitted on.
        rate: of Adam, with betas 0.5 and 0.999.
        temperature: tau.
        alpha: of the distance between embeddings.
        scales: sides of the resized views, of the picture's; each has uniform noise of the ball's size.
        maps: of the generator that one is made of.
        width: of its first stage; the paper's has 512 to 1024.
        words: whether reports are attacked too.
        keep_meaning: a word gives way only where findings, sides, numbers and negation of the report stay as they are;
            the paper replaces any.
        seed: of noise, weights and views.

    References:
        Fang et al. 2024, One Perturbation is Enough (C-PGC): generator, malicious contrast, distance; sizes, resized
        views and the choice of texts are as known, not checked against the authors' code. P and N are of a picture
        at a time; the distance is read as one of embeddings: of pixels it ends in a flat shift of the brightness.

    Note:
        It finds whether one printed pattern could flip what a deployed model says. A word that changes what a report
        says is no attack but another report: with ``keep_meaning`` such words stay, and the attack is weaker for it.

    Example:
        >>> CPgc(epsilon=8.0).ball.radius == 8 / 255
        True
    """

    def __init__(
        self,
        *,
        epsilon: float = 12.0,
        epochs: Annotated[int, Field(ge=0)] = 40,
        rate: Annotated[float, Field(gt=0)] = 2e-4,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        alpha: Annotated[float, Field(ge=0)] = 0.1,
        scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0, 0.5, 0.75, 1.25, 1.5),
        maps: Annotated[int, Field(ge=1)] = 5,
        width: Annotated[int, Field(ge=8)] = 128,
        words: bool = True,
        keep_meaning: bool = True,
        seed: int = 0,
    ) -> None:
        self.ball, self.epochs, self.rate, self.seed = Ball(epsilon), epochs, rate, seed
        self.temperature, self.alpha, self.scales = temperature, alpha, scales
        self.maps, self.width, self.words, self.keep_meaning = maps, width, words, keep_meaning

    def check(self, model: Model) -> None:
        """Refuse one whose texts have no word vectors; see `Attack.check`."""
        if self.words:
            text_tower(model)

    def fit(self, model: Model, batches: Sequence[Batch]) -> Universal:
        """Train both generators on the batches; see `Attack.fit`."""
        with held(model):
            seen = embedded(model, batches)
            change = self._change(model, seen)
            word = self._word(model, seen) if self.words else ""
        return Universal(self.ball, change.detach().cpu(), word, model, self.keep_meaning)

    def _change(self, model: Model, seen: Seen) -> Tensor:
        channels, height, width = pixels_of(seen.batches[0]).shape[1:]
        shape = (channels, height, width)
        made = ChangeGenerator(shape, texts=seen.text.shape[1], maps=self.maps, width=self.width, seed=self.seed)
        made.to(next(model.parameters()).device)
        far = seen.text[(seen.image @ seen.text.T).argmin(dim=1)]
        draw = torch_generator(self.seed, 0, "views")

        def losses() -> Iterable[Tensor]:
            for batch, rows in seen.rows():
                moved = self.ball.add(pixels_of(batch), made(seen.text[rows]) * self.ball.radius)
                views = [
                    parts_of(model, with_pixels(batch, v), "image", "embedding")[0] for v in self._views(moved, draw)
                ]
                yield self._loss(views, seen.image[rows], seen.text[rows], far[rows])

        train(made, losses, rate=self.rate, epochs=self.epochs)
        with torch.no_grad():
            return made(seen.text) * self.ball.radius

    def _word(self, model: Model, seen: Seen) -> str:
        tower = text_tower(model)
        known = real_words(tower, seen.texts, neutral=self.keep_meaning)
        ranked = by_importance(model, seen.texts)
        spans = [
            replaced(text, own, known.words[0], keep_meaning=self.keep_meaning)[1]
            for text, own in zip(seen.texts, ranked, strict=True)
        ]
        made = WordGenerator(known.vectors, images=seen.image.shape[1], width=self.width, seed=self.seed)
        made.to(next(model.parameters()).device)
        far = seen.image[(seen.text @ seen.image.T).argmin(dim=1)]

        def losses() -> Iterable[Tensor]:
            for batch, rows in seen.rows():
                tokens, place = marked(tower, seen.texts[rows], spans[rows], known.words[:2])
                read = with_texts(batch, seen.texts[rows], {tower.words.identity: tokens})
                with vector_at(tower, place, made(seen.image[rows])):
                    view = parts_of(model, read, "text", "embedding")[0]
                yield self._loss([view], seen.text[rows], seen.image[rows], far[rows])

        train(made, losses, rate=self.rate, epochs=self.epochs)
        with torch.no_grad():
            return known.nearest(made(seen.image))

    def _loss(self, views: Sequence[Tensor], clean: Tensor, own: Tensor, far: Tensor) -> Tensor:
        away = torch.stack([(view - clean).square().sum(dim=1) for view in views]).mean()
        return malicious_loss(views, own, far, temperature=self.temperature) - self.alpha * away

    def _views(self, images: Tensor, draw: torch.Generator) -> Iterable[Tensor]:
        """Yield images (B, C, H, W) with noise, made smaller or larger and brought back to their size."""
        size = images.shape[-2:]
        for scale in self.scales:
            noise = torch.rand(images.shape, generator=draw).to(images.device) * 2 - 1
            seen = (images + noise * self.ball.radius).clamp(0, 1)
            there = [max(1, round(scale * side)) for side in size]
            resized = F.interpolate(seen, size=there, mode="bilinear", align_corners=False)
            yield F.interpolate(resized, size=size, mode="bilinear", align_corners=False)


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

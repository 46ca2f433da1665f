"""Random signs of equal size: the control that an attack must beat."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from medvlp.adaptation.attacks._surrogate import pixels_of, with_pixels
from medvlp.core.attack import Attack, Ball, Norm, Perturbation
from medvlp.core.protocols import Model
from medvlp.core.randomness import torch_generator
from medvlp.core.sample import Batch


class RandomSigns(Attack):
    """Every pixel is moved by the whole size, up or down by a coin: one pattern for all pictures, nothing is learnt.

    ``x' = clip(x + epsilon s, 0, 1)`` with s in {-1, 1}: on the edge of the ball in either norm, where a learnt
    perturbation ends too. What it changes, noise of that size changes; what an attack changes beyond it, it found.

    Args:
        epsilon: gray levels (1/255).
        norm: of the ball; signs are at its edge in both.
        seed: of the signs.

    Note:
        No detector makes such noise: it is a control of the test, not a model of a scanner.

    Example:
        >>> import torch
        >>> batch = Batch.of({"image": torch.full((2, 1, 4, 4), 0.5)})
        >>> moved = RandomSigns(epsilon=51.0).fit(None, [])(batch)["image"].values
        >>> sorted({round(float(x), 3) for x in moved.flatten()}), bool((moved[0] == moved[1]).all())
        ([0.3, 0.7], True)
    """

    def __init__(self, *, epsilon: float = 8.0, norm: Norm = "linf", seed: int = 0) -> None:
        self.ball, self.seed = Ball(epsilon, norm), seed

    def fit(self, model: Model | None, batches: Sequence[Batch]) -> Perturbation:
        """Return the pattern; neither model nor batches are looked at."""
        return partial(_signed, self.ball, self.seed)


def _signed(ball: Ball, seed: int, batch: Batch) -> Batch:
    images = pixels_of(batch)
    heads = torch.rand(images.shape[1:], generator=torch_generator(seed, 0, "signs"))[None] < 0.5
    return with_pixels(batch, ball.add(images, (2.0 * heads.to(images.device) - 1.0) * ball.radius))

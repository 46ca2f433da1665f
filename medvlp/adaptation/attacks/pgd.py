"""Projected gradient descent: each picture is moved away from its own report (Madry et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.adaptation.attacks._surrogate import held, parts_of, pixels_of, with_pixels
from medvlp.core.attack import Attack, Ball, Norm, Perturbation
from medvlp.core.errors import DataError
from medvlp.core.protocols import Model
from medvlp.core.randomness import torch_generator
from medvlp.core.sample import Batch


class Pgd(Attack):
    """Steps of the gradient's sign (or direction) down the cosine of a picture and its own text, drawn back each time.

    ``d <- clip_x(P(d - a g(grad_d cos(f(x + d), t))))``: P draws back into the ball, clip keeps x + d in [0, 1]; g is
    the sign for ``linf``, the gradient at a root mean square of 1 for ``l2``. The start is drawn in the ball by (seed,
    id of the sample), so that a picture's perturbation depends on nothing beside it. Nothing is fitted: each picture
    (C, H, W) is attacked with its true text when it is shown, through the surrogate, which may be the victim itself.

    Args:
        epsilon: gray levels (1/255).
        norm: ``linf`` or ``l2``, see `Ball`.
        steps: 0 leaves the random start.
        step: a, gray levels; None: 2.5 epsilon / steps.
        seed: of the starts.

    References:
        Madry et al. 2018, eq. of section 2.1 (steps and projection), random starts; the loss of a contrastive model is
        the cosine with its own text, as in Zhang et al. 2022 (Co-Attack) [as known; not checked against their code].

    Note:
        It reads the true report of each picture: an upper bound for what an attacker can do, not a threat at a viewer.
        A small change that flips a finding is a property of the model; such pictures must never enter an archive.

    Example:
        >>> Pgd(epsilon=4.0, steps=5).step
        2.0
    """

    def __init__(
        self,
        *,
        epsilon: float = 8.0,
        norm: Norm = "linf",
        steps: Annotated[int, Field(ge=0)] = 10,
        step: Annotated[float, Field(gt=0)] | None = None,
        seed: int = 0,
    ) -> None:
        self.ball, self.steps, self.seed = Ball(epsilon, norm), steps, seed
        self.step = 2.5 * epsilon / max(steps, 1) if step is None else step

    def fit(self, model: Model, batches: Sequence[Batch]) -> Perturbation:
        """Return the attack on pictures as they come; batches are not looked at."""
        return partial(self._moved, model)

    def _moved(self, model: Model, batch: Batch) -> Batch:
        if not all(text.strip() for text in batch.strings("text")):
            raise DataError("pgd moves pictures away from their own texts: leave out samples without one.")
        with held(model):
            here = batch.to(next(model.parameters()).device)
            images = pixels_of(here)
            with torch.no_grad():
                own = parts_of(model, here, "text", "embedding")[0]
            change = self._inside(images, self._start(batch.ids, images))
            for _ in range(self.steps):
                change.requires_grad_()
                near = (parts_of(model, with_pixels(here, images + change), "image", "embedding")[0] * own).sum()
                slope = torch.autograd.grad(near, change)[0]
                change = self._inside(images, change.detach() - self.step / 255 * self._direction(slope))
            return with_pixels(batch, self.ball.add(images, change))

    def _inside(self, images: Tensor, change: Tensor) -> Tensor:
        return self.ball.add(images, change) - images

    def _direction(self, slope: Tensor) -> Tensor:
        if self.ball.norm == "linf":
            return slope.sign()
        return slope / slope.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1e-20)

    def _start(self, ids: Sequence[str], images: Tensor) -> Tensor:
        """Draw (B, C, H, W) in the ball, each row by its own id."""
        rows = []
        for name in ids:
            draw = torch_generator(self.seed, 0, f"pgd {name}")
            if self.ball.norm == "linf":
                rows.append(torch.rand(images.shape[1:], generator=draw) * 2 - 1)
            else:
                way = torch.randn(images.shape[1:], generator=draw)
                rows.append(way / way.square().mean().sqrt() * torch.rand((), generator=draw))
        return torch.stack(rows).to(images.device) * self.ball.radius

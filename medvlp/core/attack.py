"""What makes inputs that a model misreads: the protocol of `medvlp.adaptation.attacks`, one file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch

#: What an attack does to a batch of anybody: new columns ``image`` and, where it changes words, ``text``; the batch
#: that it is given stays as it is.
Perturbation = Callable[[Batch], Batch]

Norm = Literal["linf", "l2"]


@dataclass(frozen=True)
class Ball:
    """How far pixels may be moved, in gray levels of the preprocessed picture: one is 1/255 of the display range.

    ``linf``: no pixel by more than ``epsilon``. ``l2``: the root mean square over a picture's pixels is at most that,
    so that signs of equal size lie on the edge of both.

    Attributes:
        epsilon: gray levels; 0 moves nothing.
        norm: how a change is measured.

    Raises:
        ConfigError: for a negative size.

    Example:
        >>> import torch
        >>> Ball(51.0).add(torch.tensor([[[[0.5, 0.9]]]]), torch.tensor([[[[-0.9, 0.9]]]])).round(decimals=3).tolist()
        [[[[0.30000001192092896, 1.0]]]]
    """

    epsilon: float
    norm: Norm = "linf"

    def __post_init__(self) -> None:
        if not self.epsilon >= 0:
            raise ConfigError(f"epsilon is {self.epsilon:g}: the size of an attack is 0 gray levels or more.")

    @property
    def radius(self) -> float:
        """The size as a share of the display range."""
        return self.epsilon / 255

    def project(self, change: Tensor) -> Tensor:
        """Return changes (R, C, H, W), each drawn back into the ball."""
        if self.norm == "linf":
            return change.clamp(-self.radius, self.radius)
        size = change.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return change * (self.radius / size.clamp_min(1e-12)).clamp(max=1.0)

    def add(self, images: Tensor, change: Tensor) -> Tensor:
        """Return images (R, C, H, W) moved by changes (R or 1, C, H, W) in the ball, cut to [0, 1]: a new tensor.

        Cutting draws a pixel nearer to where it was, so that the result is inside the ball too. One that preprocessing
        left outside [0, 1], as bicubic scaling may, is moved no further out.
        """
        return (images + self.project(change)).clamp(images.clamp(max=0.0), images.clamp(min=1.0))

    def __str__(self) -> str:
        return f"{'' if self.norm == 'linf' else 'l2 '}{self.epsilon:g}"


class Attack(ABC):
    """One way to make pictures, and words where it says so, that a model misreads; built by name.

    Attributes:
        ball: in which pictures are moved.
    """

    ball: Ball

    def check(self, model: Model) -> None:  # noqa: B027  (most need nothing more than embeddings)
        """Refuse a surrogate that it cannot be made on (ConfigError), before any attack is fitted."""

    @abstractmethod
    def fit(self, model: Model, batches: Sequence[Batch]) -> Perturbation:
        """Learn on batches whose samples have one ``image`` and one ``text`` each; the model is not changed.

        Args:
            model: the surrogate, which needs image and text embeddings; the victim may be another.
            batches: of rows that nothing is judged on; gone through as often as is needed.

        Returns:
            What perturbs a batch; it may ask the surrogate.

        Raises:
            DataError: if a sample lacks its image or text, or there is none.
        """

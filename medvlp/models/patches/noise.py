"""Gaussian noise on features while training: what lets a text-trained head read images (CLOSE, Gu et al. 2023)."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models._draws import normal_of
from medvlp.models.patches._patch import Patch, Uniform


class Noise(Patch):
    """x -> x + std * n with n standard normal, drawn for each sample; nothing is added in eval mode.

    Args:
        kind: tower.
        on: site that sees the batch's rows in their order; another is refused while training (ConfigError).
        std: standard deviation.

    Example:
        >>> import torch
        >>> patch = Noise(uniform=lambda n: torch.full((1, n), 0.5), std=0.1)
        >>> patch.eval()(torch.zeros(1, 2), torch.zeros(1, 2)).tolist()
        [[0.0, 0.0]]
    """

    idle = True

    def __init__(
        self,
        *,
        uniform: Annotated[Uniform, FromModel("uniform")],
        kind: str = "image",
        on: str = "pooled.output",
        std: Annotated[float, Field(ge=0)] = 0.1,
    ) -> None:
        super().__init__()
        self.std = std
        self._on = on
        self._uniform = uniform

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        """Add noise to (R, ...)."""
        if not self.training or self.std == 0:
            return value
        count = math.prod(value.shape[1:])
        draws = self._uniform(2 * count).to(value.device)
        if draws.shape[0] != value.shape[0]:
            raise ConfigError(
                f"noise at {self._on!r} sees {value.shape[0]} of {draws.shape[0]} rows in another order: put it at "
                f"tokens.input or pooled.output."
            )
        return value + self.std * normal_of(draws).view_as(value).to(value.dtype)

"""The learnable temperature and bias of logits."""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError


class ScaleOptions(BaseModel):
    """Options of `LogitScale`.

    Attributes:
        init: first value of the scale; 14.28 is 1 / 0.07 of CLIP, 10 is SigLIP's.
        max: upper bound, held after each optimiser step.
        bias: first value of the bias, -10 for SigLIP; None for no bias.
        min: lower bound, held like the upper one, 1 in ProtoCLIP; None for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    init: float = Field(default=14.28, gt=0)
    max: float = Field(default=100.0, gt=0)
    bias: float | None = None
    min: float | None = Field(default=None, gt=0)


class LogitScale(nn.Module):
    """scores -> exp(log_scale) * scores + bias; options as `ScaleOptions`.

    The parameter is the logarithm, so that a step multiplies the scale and never makes it negative; its shape is
    (1,), as sharded training cannot split a scalar. Bounds hold after the optimiser's step: a clamp in `forward`
    would have no gradient beyond them.

    Raises:
        ConfigError: if `init` is not in (0, max], or below `min`.

    Example:
        >>> scale = LogitScale(init=10.0, bias=-1.0)
        >>> round(scale(torch.tensor([[0.5]])).item(), 4)
        4.0
    """

    def __init__(
        self, *, init: float = 14.28, max: float = 100.0, bias: float | None = None, min: float | None = None
    ) -> None:
        super().__init__()
        if not 0 < init <= max:
            raise ConfigError(f"scale.init is {init}: choose a number above 0 and not above scale.max, {max}.")
        if min is not None and init < min:
            raise ConfigError(f"scale.init is {init}: choose a number not below scale.min, {min}.")
        self.max = max
        self.min = min
        self.log_scale = nn.Parameter(torch.tensor([math.log(init)]))
        self.bias = None if bias is None else nn.Parameter(torch.tensor([float(bias)]))

    @property
    def value(self) -> Tensor:
        """The logit scale as a number, (1,)."""
        return self.log_scale.exp()

    def forward(self, scores: Tensor) -> Tensor:
        """Scale and shift scores of any shape."""
        scaled = self.value * scores
        return scaled if self.bias is None else scaled + self.bias

    @torch.no_grad()
    def after_step(self, samples_seen: int) -> None:
        """Bring the scale back between its bounds, once per optimiser step."""
        self.log_scale.clamp_(min=None if self.min is None else math.log(self.min), max=math.log(self.max))

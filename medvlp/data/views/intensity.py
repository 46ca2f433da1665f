"""``intensity``: other exposures, windows and detectors, as far as a report would still be true of the picture.

Black stays darker than white: an inverted radiograph is another convention, settled when the file is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.views._options import require

_FIELD = 1 << 20  # places at which a window of noise may begin


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """y = clip(c (x^g - 1/2) + 1/2 + b + noise): gamma, contrast, brightness and detector noise.

    log g is uniform in +-log(1 + gamma), log c in +-log(1 + contrast), b in +-brightness; the noise is normal with a
    standard deviation uniform in 0..noise. Every map is increasing, and the pixels stay in [0, 1].

    Attributes:
        gamma: largest change of the exponent, 0.25 = 25 %.
        contrast: largest change of the contrast about mid-grey.
        brightness: largest shift.
        noise: largest standard deviation of the noise.
        probability: that a sample is changed at all.
        field: the image field.

    Raises:
        ConfigError: if a range is not allowed.

    Example:
        >>> same = Intensity(gamma=0, contrast=0, brightness=0, noise=0)
        >>> image = torch.rand(1, 8, 8)
        >>> changed = same(Sample("a", {"image": image}), torch.Generator().manual_seed(0)).fields["image"]
        >>> bool(torch.allclose(changed, image))
        True
    """

    random: ClassVar[bool] = True

    gamma: float = 0.25
    contrast: float = 0.2
    brightness: float = 0.1
    noise: float = 0.03
    probability: float = 1.0
    field: str = "image"

    def __post_init__(self) -> None:
        fits = all(0 <= share < 1 for share in (self.gamma, self.contrast, self.brightness, self.noise))
        fits = fits and 0 <= self.probability <= 1 and parse_field(self.field).kind == "image"
        require(self, fits, "takes an image field, ranges from 0 to below 1 and a probability")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Change the grey values; of several rows (crops) each for itself."""
        value = sample.fields.get(self.field)
        if isinstance(value, tuple):
            rows = tuple(self._changed(row, generator) if isinstance(row, Tensor) else row for row in value)
            return Sample(sample.id, {**sample.fields, self.field: rows}, sample.records)
        if not isinstance(value, Tensor):
            return sample
        return Sample(sample.id, {**sample.fields, self.field: self._changed(value, generator)}, sample.records)

    def _changed(self, image: Tensor, generator: torch.Generator) -> Tensor:
        chance, g, c, b, n = torch.rand(5, generator=generator).tolist()
        if chance >= self.probability:
            return image
        contrast = math.exp(math.log1p(self.contrast) * (2 * c - 1))
        bias = 0.5 - 0.5 * contrast + (2 * b - 1) * self.brightness
        # x^g as e^(g log x), the same to 1e-7 in a fifth of the time of `pow`. An exact 0 takes ten times as long as
        # other numbers do; 1e-18 is 1e-9 at most afterwards.
        power = math.exp(math.log1p(self.gamma) * (2 * g - 1))
        out = image.clamp(min=1e-18).log_().mul_(power).exp_() if self.gamma else image.clone()
        out.mul_(contrast).add_(bias)
        if self.noise:
            out.add_(_normal(image.shape, generator), alpha=n * self.noise)
        return out.clamp_(0, 1)


def _normal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return a window, at a random place, of a field of normal draws: to draw each pixel takes ten times as long."""
    count, start = shape.numel(), int(torch.randint(_FIELD, (), generator=generator))
    return _field(count)[start : start + count].view(shape)


@lru_cache(maxsize=4)
def _field(count: int) -> Tensor:
    return torch.randn(_FIELD + count, generator=torch.Generator().manual_seed(0))

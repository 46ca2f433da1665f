"""``affine``: a small random rotation, scaling and shift of the picture. It never mirrors.

Left and right are words of the report: a flipped picture with an unflipped report teaches the opposite of the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from medvlp.core.errors import DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.marks import moved
from medvlp.data.views._options import require


@dataclass(frozen=True, kw_only=True)
class Affine:
    """Rotate about the centre by an angle in +-degrees, scale by e^u with u in +-log(1 + scale), shift by +-translate.

    Each is uniform; outside the picture is black; interpolation is bilinear. Boxes and masks follow, and the image's
    record notes the seed and the way back to the source.

    Attributes:
        degrees: largest rotation, below 45.
        scale: largest enlargement or reduction, 0.1 = 10 %.
        translate: largest shift in each direction, as a fraction of the side.
        probability: that a sample is changed at all.
        field: the image field.

    Raises:
        ConfigError: if a range is not allowed.

    Example:
        >>> same = Affine(degrees=0, scale=0, translate=0)
        >>> image = torch.rand(1, 8, 8)
        >>> moved = same(Sample("a", {"image": image}), torch.Generator().manual_seed(0)).fields["image"]
        >>> bool(torch.allclose(moved, image, atol=1e-5))
        True
    """

    random: ClassVar[bool] = True

    degrees: float = 10.0
    scale: float = 0.1
    translate: float = 0.05
    probability: float = 1.0
    field: str = "image"

    def __post_init__(self) -> None:
        allowed = 0 <= self.degrees < 45 and 0 <= self.scale < 1 and 0 <= self.translate < 0.5
        fits = allowed and 0 <= self.probability <= 1 and parse_field(self.field).kind == "image"
        takes = "takes an image field with 0 <= degrees < 45, 0 <= scale < 1, 0 <= translate < 0.5 and a probability"
        require(self, fits, takes)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Move the picture and what is marked on it."""
        image = sample.fields.get(self.field)
        if isinstance(image, tuple):
            raise DataError(f"affine changes one picture, and {self.field!r} has rows of crops: put it before `crops`.")
        if not isinstance(image, Tensor):
            return sample
        chance, turn, size, right, down = torch.rand(5, generator=generator).tolist()
        if chance >= self.probability:
            return sample
        angle = math.radians(self.degrees) * (2 * turn - 1)
        zoom = math.exp(math.log1p(self.scale) * (2 * size - 1))
        shift = complex((2 * right - 1) * self.translate, (2 * down - 1) * self.translate)
        height, width = image.shape[-2:]
        side = max(height, width)
        # A point of the plane as a complex number: one multiplication turns and scales. `forward` takes source to view.
        forward = zoom * complex(math.cos(angle), math.sin(angle))
        inverse, back = 1 / forward, -shift * side / forward
        grid = _grid(height, width, inverse, back)
        pixels = grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
        # The same in the corner's coordinates: a point of the view less the centre, turned back, and the centre again.
        centre = complex(width / 2, height / 2)
        offset = centre + back - inverse * centre
        step = np.array(
            [[inverse.real, -inverse.imag, offset.real], [inverse.imag, inverse.real, offset.imag], [0, 0, 1]]
        )
        return moved(sample, self.field, pixels, step, seed=generator.initial_seed())


@lru_cache(maxsize=8)
def _plane(height: int, width: int) -> Tensor:
    """Pixel centres from the image's centre, complex (H, W): x + iy."""
    x = torch.arange(width, dtype=torch.float32) - (width - 1) / 2
    y = torch.arange(height, dtype=torch.float32) - (height - 1) / 2
    return torch.complex(x.repeat(height, 1), y[:, None].repeat(1, width))


def _grid(height: int, width: int, inverse: complex, back: complex) -> Tensor:
    """Sampling grid (1, H, W, 2) in [-1, 1], as `grid_sample` wants it."""
    if height == width:
        half = width / 2
        points = (_plane(height, width) * (inverse / half)).add_(back / half)
        return torch.view_as_real(points)[None]
    points = torch.view_as_real((_plane(height, width) * inverse).add_(back))
    return (points * torch.tensor([2 / width, 2 / height]))[None]

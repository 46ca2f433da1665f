"""``resample``: a picture that was read is scaled to another side, on its values as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from medvlp.core.sample import Sample
from medvlp.data.marks import moved
from medvlp.data.views._options import require


@dataclass(frozen=True, kw_only=True)
class Resample:
    """(C, H, W) -> (C, size, size) by torch's interpolation without anti-aliasing: neither rounded nor cut to [0, 1].

    Some released models scale what they have read once more inside the network, or on tensors; `read` cannot do that.

    Attributes:
        size: side in pixels.
        mode: ``bilinear`` or ``bicubic``.
        align_corners: the middles of the corner pixels stay where they are, instead of the corners of the picture.
        field: the image field.

    Raises:
        ConfigError: for a side below 1.

    Example:
        >>> sample = Sample("a", {"image": torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])})
        >>> Resample(size=3, align_corners=True)(sample, torch.Generator()).fields["image"][0, 0].tolist()
        [0.0, 0.5, 1.0]
    """

    random: ClassVar[bool] = False

    size: int = 224
    mode: Literal["bilinear", "bicubic"] = "bilinear"
    align_corners: bool = False
    field: str = "image"

    def __post_init__(self) -> None:
        require(self, self.size >= 1, "takes a side of 1 pixel or more")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Scale the picture, and with it what is marked on it."""
        image = sample.fields.get(self.field)
        if not isinstance(image, Tensor):
            return sample
        side = (self.size, self.size)
        scaled = torch.nn.functional.interpolate(image[None], side, mode=self.mode, align_corners=self.align_corners)[0]
        ends = int(self.align_corners)  # the middles of the corner pixels, half a pixel from the edge, are one point
        across, down = ((n - ends) / max(self.size - ends, 1) for n in (image.shape[2], image.shape[1]))
        step = np.array([[across, 0, ends * (1 - across) / 2], [0, down, ends * (1 - down) / 2], [0, 0, 1]])
        return moved(sample, self.field, scaled, step)

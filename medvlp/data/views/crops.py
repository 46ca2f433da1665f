"""``crops``: several views of one picture, cut at random and brought to one size. They never mirror.

What multi-crop methods compare (SwAV, Caron et al. 2020, section 3.2; DINO, Caron et al. 2021, section 3.1): use the
view twice, for few large crops and many small ones. Each keeps its record, so that what two of them show of one place
can be found (DenseCL, PixPro, VICRegL): `medvlp.core.context.Context.record`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from medvlp.core.errors import DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.marks import moved
from medvlp.data.views._options import require

_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Cut `number` boxes of a picture, each as Inception's random resized crop: rows (C, size, size) of `to`.

    A box has a share of the picture's area drawn uniformly from `scale`, an aspect (width / height) drawn uniformly in
    logarithm from `ratio`, whole pixels and a uniform place. After ten draws that do not fit the middle of the picture
    is taken. Resampling is bilinear, averaged where it shrinks. Boxes and masks of the picture lie on each crop too,
    under its role: ``mask.effusion`` is ``mask.local.effusion`` there, and ``boxes.local.effusion`` are those that
    reach into it. Where the crops lie in the picture is a field as well, ``boxes.crop.ROLE``, one box each, in order.

    Attributes:
        number: of crops.
        size: side in pixels.
        scale: smallest and largest share of the area.
        ratio: smallest and largest width / height.
        field: the image field, which stays.
        to: the image field that is written; it has a role.

    Raises:
        ConfigError: if a number, size, range or field is not allowed.

    Example:
        >>> sample = Sample("a", {"image": torch.rand(1, 32, 32)})
        >>> fields = Crops(number=3, size=8)(sample, torch.Generator().manual_seed(0)).fields
        >>> [tuple(crop.shape) for crop in fields["image.local"]], fields["boxes.crop.local"].shape
        ([(1, 8, 8), (1, 8, 8), (1, 8, 8)], torch.Size([3, 4]))
    """

    random: ClassVar[bool] = True

    number: int = 2
    size: int = 96
    scale: tuple[float, float] = (0.05, 0.25)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    field: str = "image"
    to: str = "image.local"

    def __post_init__(self) -> None:
        own, made = parse_field(self.field), parse_field(self.to)
        fits = own.kind == made.kind == "image" and own != made and bool(made.role)
        require(self, fits, "cuts one image field and writes another one with a role")
        (small, large), (narrow, wide) = self.scale, self.ratio
        fits = self.number >= 1 and self.size >= 1 and 0 < small <= large <= 1 and 0 < narrow <= wide
        takes = "a number and a size of at least 1, 0 < scale <= 1 and a ratio above 0, each from smallest to largest"
        require(self, fits, f"takes {takes}")

    @property
    def adds(self) -> tuple[str, ...]:
        """The crops and their boxes."""
        return (self.to, self.boxes)

    @property
    def boxes(self) -> str:
        """The field of their boxes, which lie on the picture that is cut."""
        roles = (parse_field(self.field).role, "crop", parse_field(self.to).role)
        return ".".join(["boxes", *(role for role in roles if role)])

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Cut the crops."""
        image = sample.fields.get(self.field)
        if isinstance(image, tuple):
            raise DataError(f"crops cuts one picture, and {self.field!r} has rows of crops: name the picture.")
        if not isinstance(image, Tensor):
            return sample
        height, width = image.shape[-2:]
        boxes = [self._box(height, width, generator) for _ in range(self.number)]
        cut = (image[None, :, y0:y1, x0:x1] for x0, y0, x1, y1 in boxes)
        crops = tuple(interpolate(each, (self.size, self.size), mode="bilinear", antialias=True)[0] for each in cut)
        steps = [
            np.array([[(x1 - x0) / self.size, 0, x0], [0, (y1 - y0) / self.size, y0], [0, 0, 1.0]])
            for x0, y0, x1, y1 in boxes
        ]
        made = moved(sample, self.field, crops, steps, to=self.to, seed=generator.initial_seed())
        # Boxes of other crops say where they lie in the picture, not in these.
        others = f"boxes.{parse_field(self.to).role}.crop."
        fields = {name: value for name, value in made.fields.items() if not name.startswith(others)}
        fields[self.boxes] = torch.tensor(boxes, dtype=torch.float32)
        return Sample(sample.id, fields, made.records)

    def _box(self, height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
        """Draw x0, y0, x1, y1; as many numbers are drawn whatever fits."""
        for area, aspect, across, down in torch.rand(_TRIES, 4, generator=generator, dtype=torch.float64).tolist():
            share = self.scale[0] + area * (self.scale[1] - self.scale[0])
            ratio = math.exp(math.log(self.ratio[0]) + aspect * math.log(self.ratio[1] / self.ratio[0]))
            w, h = (round(math.sqrt(share * height * width * each)) for each in (ratio, 1 / ratio))
            if 0 < w <= width and 0 < h <= height:
                x0, y0 = int(across * (width - w + 1)), int(down * (height - h + 1))
                return x0, y0, x0 + w, y0 + h
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
        x0, y0 = (width - w) // 2, (height - h) // 2
        return x0, y0, x0 + w, y0 + h

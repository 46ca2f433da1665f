"""A view: one file, one class from a sample and a generator to a sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from medvlp.core.sample import Sample

__all__ = ["Gain"]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Pixels times a factor drawn from 1 - `most` to 1."""

    random: ClassVar[bool] = True

    most: float = 0.5

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        factor = 1 - self.most * torch.rand((), generator=generator)
        return replace(sample, fields={**sample.fields, "image": sample.fields["image"] * factor})

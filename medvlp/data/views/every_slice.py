"""``every_slice``: the slices of a stack as pictures of their own, for a model of single slices that looks on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.stacks import stack_of
from medvlp.data.views._options import require


@dataclass(frozen=True, kw_only=True)
class EverySlice:
    """Stack -> beside it as many images (C, H, W), in its order; put it behind what chooses or moves slices.

    Attributes:
        field: the stack, which stays.
        to: the image field that is written.

    Raises:
        ConfigError: for fields of another kind.

    Example:
        >>> from medvlp.core.sample import Stack
        >>> sample = Sample("a", {"stack": Stack(torch.rand(3, 1, 2, 2), torch.zeros(3, 3))})
        >>> len(EverySlice()(sample, torch.Generator()).fields["image.slices"])
        3
    """

    random: ClassVar[bool] = False

    field: str = "stack"
    to: str = "image.slices"

    def __post_init__(self) -> None:
        fits = (parse_field(self.field).kind, parse_field(self.to).kind) == ("stack", "image")
        require(self, fits, "makes images of a stack")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Write the slices."""
        stack = stack_of(sample.fields.get(self.field))
        if stack is None:
            return sample
        return Sample(sample.id, {**sample.fields, self.to: tuple(stack.pixels.unbind(0))}, sample.records)

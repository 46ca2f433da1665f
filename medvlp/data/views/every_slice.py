"""``every_slice``: the slices of a stack as pictures of their own, for a model of single slices that looks on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample, Stack
from medvlp.data.stacks import LazyStack, stack_of
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
        stack = sample.fields.get(self.field)
        if not isinstance(stack, LazyStack | Stack):
            return sample
        made = stack_of(stack)
        assert made is not None, "it is a stack"
        return Sample(sample.id, {**sample.fields, self.to: tuple(made.pixels.unbind(0))}, sample.records)

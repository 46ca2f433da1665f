"""``take_slice``: one slice of a stack becomes the sample's image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from medvlp.core.errors import DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample, Stack
from medvlp.data.marks import moved
from medvlp.data.stacks import LazyStack, stack_of
from medvlp.data.views._options import require


@dataclass(frozen=True, kw_only=True)
class TakeSlice:
    """Stack and the number of a slice -> image (C, H, W); a sample without a number keeps its stack.

    So a 2D model learns from rows that name a volume and a slice, and its bundle still reads whole volumes.

    Attributes:
        at: number field that says which slice, from 0 in the order of the stack.
        field: the stack field, which is gone afterwards.
        to: the image field that is written.

    Raises:
        ConfigError: for fields of another kind.
        DataError: if the stack has no such slice.

    Example:
        >>> stack = Stack(torch.arange(3.0).reshape(3, 1, 1, 1), torch.zeros(3, 3))
        >>> sample = Sample("a", {"stack": stack, "number.slice": 2.0})
        >>> TakeSlice()(sample, torch.Generator()).fields["image"]
        tensor([[[2.]]])
    """

    random: ClassVar[bool] = False

    at: str = "number.slice"
    field: str = "stack"
    to: str = "image"

    def __post_init__(self) -> None:
        kinds = tuple(parse_field(name).kind for name in (self.at, self.field, self.to))
        require(self, kinds == ("number", "stack", "image"), "makes an image of a stack and a number")

    @property
    def numbers(self) -> tuple[str, ...]:
        """The number field that it reads."""
        return (self.at,)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Take the slice."""
        stack, number = sample.fields.get(self.field), sample.fields.get(self.at)
        if not isinstance(stack, LazyStack | Stack) or not isinstance(number, float):
            return sample
        if not number.is_integer() or not 0 <= number < len(stack.position):
            raise DataError(
                f"{sample.id!r} asks for slice {number:g} of {len(stack.position)}: slices are counted from 0, correct "
                f"{self.at!r}."
            )
        one = stack_of(stack, [int(number)])
        assert one is not None
        made = moved(sample, self.field, one.pixels[0], slices=[int(number)], to=self.to)
        fields = {name: value for name, value in made.fields.items() if name != self.field}
        return Sample(sample.id, fields, {name: r for name, r in made.records.items() if name != self.field})

"""``read_stack_file``: slices, or the features that a frozen tower made of them, from a file of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from medvlp.core.errors import DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import ImageRecord, Sample
from medvlp.data.marks import placed
from medvlp.data.quantise import Bits
from medvlp.data.stack_files import FileStack
from medvlp.data.views._options import require


@dataclass(frozen=True, kw_only=True)
class ReadStackFile:
    """Path of a stack file (`medvlp.data.stack_files`) -> stack, (S, D, 1, 1) for features; unrounded.

    Attributes:
        bits: 32, or 8 and 16 for a file whose pixels were rounded so.
        field: the stack field.

    Raises:
        DataError: if the file is missing, damaged, or no stack file.
        ConfigError: for a field of another kind.

    Example:
        >>> ReadStackFile()(Sample("a", {"text": "no stack"}), torch.Generator()).fields
        {'text': 'no stack'}
    """

    random: ClassVar[bool] = False

    bits: Bits = 32
    field: str = "stack"

    def __post_init__(self) -> None:
        require(self, parse_field(self.field).kind == "stack", "makes a stack field")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Open the file."""
        source = sample.fields.get(self.field)
        if source is None:
            return sample
        if not isinstance(source, str):
            raise DataError(f"The field {self.field!r} of {sample.id!r} is not one path: name one stack file.")
        stack = FileStack(Path(source))
        height, width = stack.shape[1:]
        if height * width == 1:  # features have no place in a picture
            return Sample(sample.id, {**sample.fields, self.field: stack}, sample.records)
        record = ImageRecord(seed=0, box=(0.0, 0.0, float(width), float(height)), source=(len(stack), height, width))
        return placed(sample, self.field, stack, record)

    def shape_of(self, sample: Sample) -> tuple[int, ...] | None:
        """Return (channels, height, width) of a slice in a sample's file; None where there is none to be read."""
        try:
            stack = self(sample, torch.Generator()).fields.get(self.field)
        except DataError:
            return None
        return stack.shape if isinstance(stack, FileStack) else None

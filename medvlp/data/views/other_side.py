"""``other_side``: to a text that names a side, a hard negative that names the other one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch

from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample

__all__ = ["OtherSide"]


@dataclass(frozen=True, kw_only=True)
class OtherSide:
    """Write texts that are false of the image because left and right are exchanged (`medvlp.text.laterality`).

    They are negatives, never another reading of the report: the report itself stays as it is. After ``sentences`` each
    of its rows is taken; a text in which nothing can be turned adds none.

    Attributes:
        field: the text field that is read.
        to: the text field that is written.

    Raises:
        ConfigError: if one is no text field, or both are the same.

    Example:
        >>> sample = OtherSide()(Sample("a", {"text": "Left effusion."}), torch.Generator())
        >>> sample.fields["text"], sample.fields["text.negative"]
        ('Left effusion.', ('Right effusion.',))
    """

    random: ClassVar[bool] = True

    field: str = "text"
    to: str = "text.negative"

    def __post_init__(self) -> None:
        if {parse_field(self.field).kind, parse_field(self.to).kind} != {"text"} or self.field == self.to:
            raise ConfigError(
                f"other_side reads one text field and writes another, not {self.field!r} and {self.to!r}: change these."
            )

    @property
    def adds(self) -> tuple[str, ...]:
        """The field that it makes."""
        return (self.to,)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Add the negatives."""
        value = sample.fields.get(self.field)
        texts = value if isinstance(value, tuple) else (value,)
        turned = tuple(other for text in texts if isinstance(text, str) and (other := _other_side(text)) is not None)
        return Sample(sample.id, {**sample.fields, self.to: turned}, sample.records) if turned else sample


@lru_cache(maxsize=1 << 14)
def _other_side(text: str) -> str | None:
    from medvlp.text.laterality import other_side

    return other_side(text)

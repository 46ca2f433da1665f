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

    They are negatives, never another reading of the report: the report itself stays as it is. Without `stated` a whole
    text is copied (after ``sentences``, each of its rows), and one in which nothing can be turned adds none. With it,
    single sentences that state something of one side are drawn and written beside their false copies: the form in which
    a model is asked for a side.

    Attributes:
        field: the text field that is read.
        to: the text field that false copies are written to.
        stated: the text field that drawn sentences are written to; None copies whole texts.
        most: most sentences that are drawn, where `stated` is given.

    Raises:
        ConfigError: if a field is no text field, two are the same, or `most` is below 1.

    Example:
        >>> view = OtherSide(stated="text.stated")
        >>> fields = view(Sample("a", {"text": "Left effusion. No nodule."}), torch.Generator()).fields
        >>> fields["text"], fields["text.stated"], fields["text.negative"]
        ('Left effusion. No nodule.', ('Left effusion.',), ('Right effusion.',))
    """

    random: ClassVar[bool] = True

    field: str = "text"
    to: str = "text.negative"
    stated: str | None = None
    most: int = 2

    def __post_init__(self) -> None:
        names = [self.field, *self.adds]
        if {parse_field(name).kind for name in names} != {"text"} or len(set(names)) < len(names) or self.most < 1:
            raise ConfigError(
                f"other_side reads one text field, writes others and draws at least one sentence, not {self.field!r}, "
                f"{self.adds} and {self.most}: change these."
            )

    @property
    def adds(self) -> tuple[str, ...]:
        """The fields that it makes."""
        return (self.to,) if self.stated is None else (self.to, self.stated)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Add the negatives."""
        value = sample.fields.get(self.field)
        texts = [text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)]
        if self.stated is None:
            copies = tuple(other for text in texts if (other := _other_side(text)) is not None)
            return Sample(sample.id, {**sample.fields, self.to: copies}, sample.records) if copies else sample
        pairs = [pair for text in texts for pair in _statements(text)]
        if not pairs:
            return sample
        drawn = torch.rand(len(pairs), generator=generator).argsort()[: self.most].sort().values.tolist()
        stated, copies = zip(*(pairs[i] for i in drawn), strict=True)
        return Sample(sample.id, {**sample.fields, self.to: copies, self.stated: stated}, sample.records)


@lru_cache(maxsize=1 << 14)
def _other_side(text: str) -> str | None:
    from medvlp.text.laterality import other_side

    return other_side(text)


@lru_cache(maxsize=1 << 14)
def _statements(text: str) -> tuple[tuple[str, str], ...]:
    from medvlp.text.laterality import sided_statements

    return tuple(sided_statements(text))

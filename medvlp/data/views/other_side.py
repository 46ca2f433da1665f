"""``other_side``: to a text that names a side, a hard negative that names the other one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, TypeVar

import torch

from medvlp.core.randomness import some_of
from medvlp.core.sample import Sample
from medvlp.data.views._options import are_texts, require, texts_of
from medvlp.text.laterality import other_side, sided_statements, unsided_statements

_T = TypeVar("_T")


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
        unsided: most sentences drawn besides that state something abnormal of no side or of both; they have no copy.

    Raises:
        ConfigError: if an option is not allowed.

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
    unsided: int = 0

    def __post_init__(self) -> None:
        fits = are_texts([self.field, *self.adds]) and self.most >= 1
        require(self, fits, "reads one text field, writes others and draws at least one sentence")
        fits = self.unsided == 0 or (self.unsided > 0 and self.stated is not None)
        require(self, fits, "draws sentences without a side into the field stated alone")

    @property
    def adds(self) -> tuple[str, ...]:
        """The fields that it makes."""
        return (self.to,) if self.stated is None else (self.to, self.stated)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Add the negatives."""
        texts = texts_of(sample.fields, self.field)
        if self.stated is None:
            copies = tuple(other for text in texts if (other := _other_side(text)) is not None)
            return Sample(sample.id, {**sample.fields, self.to: copies}, sample.records) if copies else sample
        pairs = _drawn([pair for text in texts for pair in _sided(text)], self.most, generator)
        stated, copies = tuple(true for true, _ in pairs), tuple(false for _, false in pairs)
        if self.unsided:
            stated += tuple(_drawn([each for text in texts for each in _unsided(text)], self.unsided, generator))
        new = {name: rows for name, rows in ((self.to, copies), (self.stated, stated)) if rows}
        return Sample(sample.id, {**sample.fields, **new}, sample.records)


def _drawn(statements: list[_T], most: int, generator: torch.Generator) -> list[_T]:
    return [statements[i] for i in some_of(len(statements), most, generator)]


_other_side = lru_cache(maxsize=1 << 14)(other_side)
_sided = lru_cache(maxsize=1 << 14)(sided_statements)
_unsided = lru_cache(maxsize=1 << 14)(unsided_statements)

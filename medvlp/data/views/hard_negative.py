"""``hard_negative``: to a text, copies that are false in exactly one fact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from medvlp.core.sample import Sample
from medvlp.data.views._options import are_texts, require, texts_of
from medvlp.text.hard_negatives.copies import KINDS, Kind


@dataclass(frozen=True, kw_only=True)
class HardNegative:
    """Write texts that are false of the image in one fact (`medvlp.text.hard_negatives`): a side, a denial, a degree.

    They are negatives, never another reading of the report: the report itself stays as it is. Where ``other_side``
    turns every side that a text states, here one fact is changed, in every sentence that states it. The field must hold
    the whole report: what is false of a few drawn sentences may be true by another one.

    Attributes:
        field: the text field that is read.
        to: the text field that false copies are written to.
        kinds: what may be changed; a kind is drawn first, each as likely as another where it has a copy.
        most: most copies of a text.
        stated: the text field that the changed sentence is written to, in its true form; `to` then gets that sentence
            alone in its false form. None copies whole texts.

    Raises:
        ConfigError: if a field is no text field, two are the same, no kind is left or `most` is below 1.

    Example:
        >>> view = HardNegative(kinds=("side",), stated="text.stated")
        >>> fields = view(Sample("a", {"text": "Left effusion. No nodule."}), torch.Generator()).fields
        >>> fields["text.stated"], fields["text.negative"]
        (('Left effusion.',), ('Right effusion.',))
    """

    random: ClassVar[bool] = True

    field: str = "text"
    to: str = "text.negative"
    kinds: tuple[Kind, ...] = KINDS
    most: int = 1
    stated: str | None = None

    def __post_init__(self) -> None:
        require(self, are_texts([self.field, *self.adds]), "reads one text field and writes others")
        require(self, bool(self.kinds) and self.most >= 1, "needs at least one kind and one copy")

    @property
    def adds(self) -> tuple[str, ...]:
        """The fields that it makes."""
        return (self.to,) if self.stated is None else (self.to, self.stated)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Add the negatives."""
        from medvlp.text.hard_negatives.copies import hard_negatives

        texts = texts_of(sample.fields, self.field)
        copies = [copy for text in texts for copy in hard_negatives(text, generator, kinds=self.kinds, most=self.most)]
        if not copies:
            return sample
        new: dict[str, object] = {self.to: tuple(copy.text for copy in copies)}
        if self.stated is not None:
            new = {
                self.to: tuple(copy.false_statement for copy in copies),
                self.stated: tuple(copy.statement for copy in copies),
            }
        return Sample(sample.id, {**sample.fields, **new}, sample.records)

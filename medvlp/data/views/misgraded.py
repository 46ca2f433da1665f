"""``misgraded``: a sentence that grades a finding, and its copy with a false grade."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from medvlp.core.errors import ConfigError
from medvlp.core.sample import Sample
from medvlp.data.views._options import are_texts, require, texts_of


@dataclass(frozen=True, kw_only=True)
class Misgraded:
    """Write a sentence of the report that grades a finding, and beside it one that grades it falsely.

    False words are drawn from those of the training reports, so that each word is said as often truly as falsely
    (`medvlp.text.hard_negatives.misgraded`): a text-only model is right half the time, and only the image tells. Where
    ``hard_negative`` draws one of the other two grades, base rates tell. It belongs before ``sentences``: the field
    must hold the whole report.

    Mind: readers disagree by a grade; so it is for a small weight, and a "moderate" that another reader would call
    "mild" is taught as false.

    Attributes:
        field: the text field that is read.
        to: the text field that the false sentence is written to.
        stated: the text field that the true one is written to; both or neither.
        shares: finding -> word of grade -> how often reports say it; None: counted in the training reports, once a run,
            at some milliseconds a report.

    Raises:
        ConfigError: if a field is no text field or two are the same; by the call, if nothing was counted.

    Example:
        >>> samples = [Sample(size, {"text": f"{size} effusion."}) for size in ("Small", "Large")]
        >>> fields = Misgraded().fitted(samples)(samples[0], torch.Generator().manual_seed(1)).fields
        >>> fields.get("text.graded"), fields.get("text.misgraded")
        (('Small effusion.',), ('Large effusion.',))
    """

    random: ClassVar[bool] = True

    field: str = "text"
    to: str = "text.misgraded"
    stated: str = "text.graded"
    shares: dict[str, dict[str, float]] | None = None

    def __post_init__(self) -> None:
        require(self, are_texts([self.field, *self.adds]), "reads one text field and writes two others")

    @property
    def adds(self) -> tuple[str, ...]:
        """The fields that it makes."""
        return (self.to, self.stated)

    def fitted(self, samples: Iterable[Sample]) -> Misgraded:
        """Return the view with the words of these samples; itself where it was given some."""
        from medvlp.text.hard_negatives import grade_shares

        if self.shares is not None:
            return self
        return replace(
            self, shares=grade_shares(text for each in samples for text in texts_of(each.fields, self.field))
        )

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Add the two sentences."""
        from medvlp.text.hard_negatives import misgraded

        if self.shares is None:
            raise ConfigError("misgraded knows no words to draw from: give shares, or let training count them.")
        drawn = (misgraded(text, generator, self.shares) for text in texts_of(sample.fields, self.field))
        copies = [copy for copy in drawn if copy is not None]
        if not copies:
            return sample
        new = {
            self.to: tuple(copy.false_statement for copy in copies),
            self.stated: tuple(copy.statement for copy in copies),
        }
        return Sample(sample.id, {**sample.fields, **new}, sample.records)

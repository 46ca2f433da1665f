"""``translations``: at each draw the report is read in one of the languages that it is there in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.views._options import require, with_report


@dataclass(frozen=True, kw_only=True)
class Translations:
    """Put one of the texts of a sample, its own language or a translation, drawn uniformly, in the place of the report.

    The columns ``text.de``, ``text.fr``... hold what somebody has translated beforehand; a sample without one is not
    read in that language. As with ``sentences``, ``id.report`` names the report as it was, so that two samples with one
    report are known as such in whatever language each was drawn (RS-M-CLIP, Silva et al. 2024: nine languages). It
    belongs before views that read English (``sections``, ``rewrite``), which leave other languages as they are.

    Machine translation loses negation and side now and then: have a sample read by somebody who knows both languages.

    Attributes:
        others: text fields with the translations.
        field: the text field that is replaced.

    Raises:
        ConfigError: for a field of another kind, or none.

    Example:
        >>> view = Translations(others=("text.de",))
        >>> sample = Sample("a", {"text": "No effusion.", "text.de": "Kein Erguss."})
        >>> sorted({view(sample, torch.Generator().manual_seed(seed)).fields["text"] for seed in range(9)})
        ['Kein Erguss.', 'No effusion.']
    """

    random: ClassVar[bool] = True

    others: tuple[str, ...] = ("text.translated",)
    field: str = "text"

    def __post_init__(self) -> None:
        kinds = {parse_field(name).kind for name in (self.field, *self.others)}
        fits = kinds == {"text"} and bool(self.others) and self.field not in self.others
        require(self, fits, "takes a text field and others that hold its translations")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Draw a language."""
        report = sample.fields.get(self.field)
        if not isinstance(report, str):
            return sample
        texts = [report, *(text for name in self.others if isinstance(text := sample.fields.get(name), str) and text)]
        fields = with_report(sample.fields, report) if self.field == "text" else dict(sample.fields)
        fields[self.field] = texts[int(float(torch.rand(1, generator=generator)) * len(texts))]
        return Sample(sample.id, fields, sample.records)

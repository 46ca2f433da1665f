"""``rewrite``: the report in other words and another order, its meaning kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch

from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.views._options import require, texts_of, with_report


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """With `probability`, say a text in other words (`medvlp.text.rewriting`), each of its rows for itself.

    Findings, certainty, side, severity and numbers are kept. As with ``sentences``, ``id.report`` names the report as
    it was and ``text.report`` keeps it, so that two samples with one report are still known as such. It belongs before
    ``sentences``, and before ``sections`` where sections are to change places.

    LaCLIP (Fan et al. 2023) draws one of a caption and M rewrites of it: a probability of M / (M + 1), 0.8 for four.
    They are `stored`, where a language model wrote them; one that says anything else, or a single word, is never used.

    Attributes:
        probability: of rewriting; else the text stays.
        synonyms: probability that a phrase or sentence is exchanged for another of the same meaning.
        abbreviations: probability that a word is abbreviated, or an abbreviation written out.
        sentences: draw another order of the sentences of findings and impression.
        sections: draw another order of the sections of a report with headers.
        verify: read the result back and keep the text as it was where anything else is read: a guard for reports unlike
            those the rules were proven on, at some milliseconds a report.
        field: the text field.
        to: the text field that the result is written to, beside a text that stays; None: in place of it.
        stored: text fields with rewrites of a whole text, made before; one is drawn in place of what the rules make.

    Raises:
        ConfigError: if a probability or a field is not allowed.

    Example:
        >>> view = Rewrite(probability=1.0, synonyms=1.0, sentences=False)
        >>> view(Sample("a", {"text": "Left lung nodule."}), torch.Generator().manual_seed(0)).fields["text"]
        'Left pulmonary nodule.'
    """

    random: ClassVar[bool] = True

    probability: float = 0.5
    synonyms: float = 0.5
    abbreviations: float = 0.25
    sentences: bool = True
    sections: bool = True
    verify: bool = False
    field: str = "text"
    to: str | None = None
    stored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        chances = (self.probability, self.synonyms, self.abbreviations)
        names = (self.field, self.to or self.field, *self.stored)
        fits = all(0 <= chance <= 1 for chance in chances) and {parse_field(name).kind for name in names} == {"text"}
        require(self, fits, "takes a text field and probabilities from 0 to 1")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Rewrite the text."""
        value = sample.fields.get(self.field)
        rows = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(row, str) for row in rows):
            return sample
        fields = dict(sample.fields)
        if self.field == "text" and self.to is None and isinstance(value, str):
            fields = with_report(sample.fields, value)
        texts = tuple(map(str, rows))
        if float(torch.rand(1, generator=generator)) < self.probability:
            others = tuple(text for name in self.stored for text in texts_of(sample.fields, name))
            texts = tuple(
                _drawn(text, others, generator) if self.stored else self._rewritten(text, generator) for text in texts
            )
        fields[self.to or self.field] = texts if isinstance(value, tuple) else texts[0]
        return Sample(sample.id, fields, sample.records)

    def _rewritten(self, text: str, generator: torch.Generator) -> str:
        from medvlp.text.rewriting import rewrite, same_meaning

        other = rewrite(
            text,
            generator,
            synonyms=self.synonyms,
            abbreviations=self.abbreviations,
            sentences=self.sentences,
            sections=self.sections,
        )
        return text if self.verify and not same_meaning(text, other) else other


def _drawn(text: str, others: tuple[str, ...], generator: torch.Generator) -> str:
    """Return one of the other texts that say the same, each as likely; the text where there is none."""
    same = [other for other in others if _same_meaning(text, other)]
    place = int(float(torch.rand(1, generator=generator)) * len(same))
    return same[place] if same else text


@lru_cache(maxsize=1 << 14)
def _same_meaning(text: str, other: str) -> bool:
    from medvlp.text.rewriting import same_meaning

    return len(other.split()) > 1 and same_meaning(text, other)

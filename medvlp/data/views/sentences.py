"""``sentences``: in training, some sentences of the report in their order; in evaluation the report stays whole.

A picture must agree with each sentence of its report, not only with all of them; so drawn sentences are the cheapest
augmentation that text has (they also shorten it).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch

from medvlp.core.fields import parse_field
from medvlp.core.randomness import some_of
from medvlp.core.sample import Sample
from medvlp.data.views._options import require, with_report


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """With `probability`, replace a report by k of its sentences, in their order; k is uniform in least..most.

    The id field ``id.report`` keeps a hash of the whole report, so that two samples with one report are still known as
    such (``ctx.same("report", ...)``) after different sentences were drawn, and ``text.report`` keeps its words; what
    is there already stays.

    Attributes:
        probability: of drawing; else the report stays whole.
        least: fewest sentences.
        most: most sentences; 0 for all there are.
        extra: further rows beside that text, each one sentence drawn for itself (the same one may come twice): a
            picture is then compared with single statements too, which is what zero-shot prompts are.
        clauses: draw sub-sentences (`medvlp.text.sentences`): of "No effusion or pneumothorax." either half.
        field: the text field.

    Raises:
        ConfigError: if a number is not allowed.

    Example:
        >>> draw = Sentences(probability=1.0, most=1)
        >>> sample = Sample("a", {"text": "Clear lungs. Normal heart."})
        >>> draw(sample, torch.Generator().manual_seed(0)).fields["text"] in ("Clear lungs.", "Normal heart.")
        True
    """

    random: ClassVar[bool] = True

    probability: float = 0.5
    least: int = 1
    most: int = 0
    extra: int = 0
    clauses: bool = False
    field: str = "text"

    def __post_init__(self) -> None:
        fits = 0 <= self.probability <= 1 and self.least >= 1 and (self.most == 0 or self.most >= self.least)
        fits = fits and self.extra >= 0 and parse_field(self.field).kind == "text"
        require(self, fits, "takes a text field, a probability, 1 <= least <= most (0: all) and extra >= 0")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Draw sentences."""
        report = sample.fields.get(self.field)
        if not isinstance(report, str):
            return sample
        parts = _parts(report, self.clauses)
        fields = with_report(sample.fields, report) if self.field == "text" else dict(sample.fields)
        chance, size = torch.rand(2, generator=generator).tolist()
        if chance < self.probability and len(parts) > 1:
            most = min(self.most or len(parts), len(parts))
            least = min(self.least, most)
            count = least + min(int(size * (most - least + 1)), most - least)
            fields[self.field] = " ".join(parts[i] for i in some_of(len(parts), count, generator))
        if self.extra and parts:
            drawn = (torch.rand(self.extra, generator=generator) * len(parts)).long().tolist()
            fields[self.field] = (str(fields[self.field]), *(parts[i] for i in drawn))
        return Sample(sample.id, fields, sample.records)


@lru_cache(maxsize=1 << 14)
def _parts(report: str, clauses: bool) -> tuple[str, ...]:
    from medvlp.text.sentences import split_clauses, split_sentences

    sentences = split_sentences(report)
    return tuple(part for each in sentences for part in split_clauses(each)) if clauses else tuple(sentences)

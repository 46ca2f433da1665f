"""``facts``: what a sample's report and labels say, and what each of its texts states, as numbers to compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from medvlp.core.sample import Sample
from medvlp.data.views._options import WHOLE, are_texts, labels_of, require, texts_of


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Write ``graph.facts``, what is known of the sample, and ``graph.facts.FIELD``, what each row of a text states.

    Objectives that leave out texts which are true of a picture (``exclude: true_of``) ask for it themselves: it comes
    last, behind whatever changes the texts. Known is what `medvlp.text.read_report` finds in the whole report (as it
    was before ``sentences`` or ``rewrite``), and what the labels of findings say. Nothing else is looked at.

    Attributes:
        field: the text field whose rows are read.

    Raises:
        ConfigError: if it is no text field.

    Example:
        >>> fields = Facts()(Sample("a", {"text": "No effusion.", "label.nodule": 1.0}), torch.Generator()).fields
        >>> fields["graph.facts"].shape, fields["graph.facts.text"].shape
        (torch.Size([2, 2]), torch.Size([1, 2]))
    """

    random: ClassVar[bool] = False

    field: str = "text"

    def __post_init__(self) -> None:
        require(self, are_texts([self.field]), "reads a text field")

    @property
    def adds(self) -> tuple[str, ...]:
        """The fields that it makes."""
        from medvlp.text.facts import KNOWN, stated_field

        return (KNOWN, stated_field(self.field))

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Read the texts and the labels."""
        from medvlp.text.facts import KNOWN, facts_of, stated_field

        stated = [(i, fact) for i, text in enumerate(texts_of(sample.fields, self.field)) for fact in facts_of(text)]
        new = {stated_field(self.field): stated}
        if KNOWN not in sample.fields:
            new[KNOWN] = [(0, fact) for fact in _known(sample.fields)]
        made: dict[str, Tensor] = {name: torch.tensor(pairs, dtype=torch.int64) for name, pairs in new.items() if pairs}
        return Sample(sample.id, {**sample.fields, **made}, sample.records)


def _known(fields: Mapping[str, object]) -> list[int]:
    from medvlp.text.facts import facts_of, facts_of_labels

    reports = texts_of(fields, WHOLE if WHOLE in fields else "text")
    return list(
        dict.fromkeys([*facts_of_labels(labels_of(fields)), *(fact for text in reports for fact in facts_of(text))])
    )

"""``copy_text``: a text once more under another name, so that a patch can act on one of the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from medvlp.core.sample import Sample
from medvlp.data.views._options import are_texts, require


@dataclass(frozen=True, kw_only=True)
class CopyText:
    """Write a text field, all its rows, into another one as well.

    Attributes:
        field: the text field.
        to: the text field that is written.

    Raises:
        ConfigError: for fields of another kind, or twice the same.

    Example:
        >>> CopyText()(Sample("a", {"text": "Clear."}), torch.Generator()).fields
        {'text': 'Clear.', 'text.masked': 'Clear.'}
    """

    random: ClassVar[bool] = False

    field: str = "text"
    to: str = "text.masked"

    def __post_init__(self) -> None:
        require(self, are_texts([self.field, self.to]), "takes two different text fields")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Copy."""
        if self.field not in sample.fields:
            return sample
        return Sample(sample.id, {**sample.fields, self.to: sample.fields[self.field]}, sample.records)

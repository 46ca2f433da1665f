"""``captions``: a text from the labels, for data that have no reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.views._options import labels_of, require


@dataclass(frozen=True, kw_only=True)
class Captions:
    """Write a caption that says what the labels say (`medvlp.text.captions`), in drawn words and order.

    Present, absent and uncertain are said as such; a label that is missing is not mentioned. A sample whose labels say
    nothing gets no text.

    Attributes:
        findings: labels that are read (``effusion`` is ``label.effusion``); empty for every label of the sample.
        absent: most absent findings that are denied.
        to: the text field that is written.
        overwrite: write it also where the sample has a text already.

    Raises:
        ConfigError: if a finding has no words, the field is no text field or `absent` is below 0.

    Example:
        >>> view = Captions(absent=0)
        >>> sample = Sample("a", {"label.effusion": 1.0, "label.nodule": 0.0})
        >>> view(sample, torch.Generator().manual_seed(0)).fields["text"]
        'Findings are consistent with a pleural effusion.'
    """

    random: ClassVar[bool] = True

    findings: tuple[str, ...] = ()
    absent: int = 4
    to: str = "text"
    overwrite: bool = False

    def __post_init__(self) -> None:
        from medvlp.text.captions import caption_findings

        fits = parse_field(self.to).kind == "text" and self.absent >= 0
        require(self, fits, "writes a text field and denies at least 0 findings")
        for name in self.findings:
            if name not in caption_findings():
                raise ConfigError(
                    f"captions has no words for the finding {name!r}: {did_you_mean(name, caption_findings())}; change "
                    f"it or leave it out."
                )

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Write the caption."""
        from medvlp.text.captions import caption

        if self.to in sample.fields and not self.overwrite:
            return sample
        labels = labels_of(sample.fields)
        chosen = {name: labels[name] for name in self.findings or labels if name in labels}
        text = caption(chosen, generator, absent=self.absent)
        return Sample(sample.id, {**sample.fields, self.to: text}, sample.records) if text else sample

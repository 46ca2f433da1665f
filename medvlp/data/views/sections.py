"""``sections``: the report becomes the sections that are learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.views._options import require


@dataclass(frozen=True, kw_only=True)
class Sections:
    r"""Report -> the words of the wanted sections; a report that has none of them gives what stands for them.

    A report without words becomes a missing one.

    Attributes:
        sections: canonical names (`medvlp.text.split_sections`), in the order in which they are joined.
        field: the text field.
        to: text field that is written, the report staying as it is; there a report without the wanted sections gives
            nothing. None: the report itself is replaced.

    Raises:
        ConfigError: for a field of another kind, an empty list, or a section that there is not.

    Example:
        >>> sample = Sample("a", {"text": "INDICATION: Cough.\nIMPRESSION: Normal."})
        >>> Sections()(sample, torch.Generator()).fields
        {'text': 'Normal.'}
    """

    random: ClassVar[bool] = False

    sections: tuple[str, ...] = ("findings", "impression")
    field: str = "text"
    to: str | None = None

    def __post_init__(self) -> None:
        kinds = {parse_field(name).kind for name in (self.field, self.to or self.field)}
        require(self, kinds == {"text"} and bool(self.sections), "takes text fields and at least one section")
        from medvlp.text.sections import check_sections

        check_sections(self.sections)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Choose the words."""
        from medvlp.text.sections import report_text

        report = sample.fields.get(self.field)
        if not isinstance(report, str):
            return sample
        found = report_text(report, self.sections)
        if self.to is not None:
            there = bool(found.text) and not found.fell_back
            return Sample(sample.id, {**sample.fields, self.to: found.text}, sample.records) if there else sample
        chosen = found.text
        fields = {name: value for name, value in sample.fields.items() if name != self.field}
        return Sample(sample.id, {**fields, self.field: chosen} if chosen else fields, sample.records)

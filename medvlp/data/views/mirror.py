"""``mirror``: the picture and its words mirrored together. Off unless asked for, and hardly ever to be asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.views._report import MIRRORED
from medvlp.text.mirror import mirror_sides

__all__ = ["Mirror"]

_UNTOUCHED = ("label", "id", "number")
_MIRRORED = ("image", "mask", "boxes", "text")


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """With `probability`, exchange left and right in all pictures, masks, boxes and texts of a sample.

    No configuration of this project uses it and its default is never: a chest is not symmetric, so a mirrored one shows
    a heart, an aorta and a stomach on the wrong side (dextrocardia, situs inversus), which no report of a normal chest
    says; a model that learns from such pictures cannot tell them from a wrongly marked film, where left and right
    matter most. Use it to measure what side a model has learnt, or on parts without such asymmetry. Frontal pictures
    only: in a lateral view a mirror does not exchange left and right.

    The words are exchanged by `medvlp.text.mirror.mirror_sides`. A sample stays as it is where one of its texts names
    one-sided anatomy or a side that cannot be told, where a picture is still a path, or where it has a field whose
    mirror image is not known (stack, volume, vector, graph). ``records[...].flip`` and ``id.report`` tell of it;
    mirrored twice, everything is as it was.

    Attributes:
        probability: of mirroring, 0 by default.
        field: the image field whose width boxes are mirrored in.

    Raises:
        ConfigError: if the probability or the field is not allowed.

    Example:
        >>> sample = Sample("a", {"image": torch.tensor([[[1.0, 0.0]]]), "text": "Right effusion."})
        >>> fields = Mirror(probability=1.0)(sample, torch.Generator()).fields
        >>> fields["image"].tolist(), fields["text"]
        ([[[0.0, 1.0]]], 'Left effusion.')
    """

    random: ClassVar[bool] = True

    probability: float = 0.0
    field: str = "image"

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or parse_field(self.field).kind != "image":
            raise ConfigError(
                f"mirror takes an image field and a probability from 0 to 1, not {self.field!r} and "
                f"{self.probability}: change these."
            )

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Mirror everything, or nothing."""
        if float(torch.rand(1, generator=generator)) >= self.probability:
            return sample
        fields: dict[str, object] = {}
        for name, value in sample.fields.items():
            kind = parse_field(name).kind
            if kind in _UNTOUCHED:
                fields[name] = value
                continue
            mirrored = self._mirrored(name, value, sample) if kind in _MIRRORED else None
            if mirrored is None:
                return sample
            fields[name] = mirrored
        if self.field not in fields:
            return sample
        report = fields.get("id.report")
        if isinstance(report, str):
            fields["id.report"] = report.removesuffix(MIRRORED) if report.endswith(MIRRORED) else report + MIRRORED
        records = {name: replace(record, flip=not record.flip) for name, record in sample.records.items()}
        return Sample(sample.id, fields, records)

    def _mirrored(self, name: str, value: object, sample: Sample) -> object | None:
        """Return the mirror image of one field; None where there is none."""
        if isinstance(value, tuple):
            rows = [self._mirrored(name, row, sample) for row in value]
            return None if any(row is None for row in rows) else tuple(rows)
        kind, _, role = name.partition(".")
        if kind == "text":
            return mirror_sides(value) if isinstance(value, str) else None
        if not isinstance(value, Tensor):
            return None
        if kind != "boxes":
            return value.flip(-1)
        image = sample.fields.get(f"image.{role}", sample.fields.get(self.field))
        if not isinstance(image, Tensor):
            return None
        return torch.stack(
            [image.shape[-1] - value[:, 2], value[:, 1], image.shape[-1] - value[:, 0], value[:, 3]], dim=1
        )

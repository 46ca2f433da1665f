"""``mirror``: the picture and its words mirrored together. Off unless asked for, and hardly ever to be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.data.marks import lies_on, moved
from medvlp.data.views._report import MIRRORED
from medvlp.text.mirror import mirror_sides

__all__ = ["Mirror"]

_UNTOUCHED = ("label", "id", "number")


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
        field: the image field that must be there.

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
        changed: dict[str, object] = {}
        pictures: dict[str, Tensor | tuple[Tensor, ...]] = {}
        for name, value in sample.fields.items():
            kind = parse_field(name).kind
            rows = value if isinstance(value, tuple) else (value,)
            if kind == "image" and all(isinstance(row, Tensor) for row in rows):
                flipped = tuple(row.flip(-1) for row in rows if isinstance(row, Tensor))
                pictures[name] = flipped if isinstance(value, tuple) else flipped[0]
            elif kind == "text" and (texts := _mirrored(rows)) is not None:
                changed[name] = texts if isinstance(value, tuple) else texts[0]
            elif kind not in _UNTOUCHED and str(lies_on(name, sample.fields)).partition(".")[0] != "image":
                return sample
        if self.field not in pictures:
            return sample
        report = sample.fields.get("id.report")
        if isinstance(report, str):
            changed["id.report"] = report.removesuffix(MIRRORED) if report.endswith(MIRRORED) else report + MIRRORED
        made = Sample(sample.id, {**sample.fields, **changed}, sample.records)
        for name, pixels in pictures.items():
            steps = [_flip(row.shape[-1]) for row in (pixels if isinstance(pixels, tuple) else (pixels,))]
            made = moved(made, name, pixels, steps)
        return made


def _mirrored(texts: tuple[object, ...]) -> tuple[str, ...] | None:
    """Return the texts with left and right exchanged; None where that is not known of one of them."""
    found = [mirror_sides(text) if isinstance(text, str) else None for text in texts]
    return None if any(text is None for text in found) else tuple(text for text in found if text is not None)


def _flip(width: int) -> NDArray[np.float64]:
    return np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])

"""``read``: the image file becomes pixels of one size, as a display shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.core.fields import parse_field
from medvlp.core.places import turned_record
from medvlp.core.sample import ImageRecord, Sample
from medvlp.data.marks import placed
from medvlp.data.quantise import Bits, quantise
from medvlp.io.presets import preset_names
from medvlp.io.resize import FitTo, Resample, fit_to


@dataclass(frozen=True, kw_only=True)
class Read:
    """Path -> (1, size, size) float32 in [0, 1], 1 white; aspect kept, padded with black; a sample without it is kept.

    Instead of a path the field may hold what somebody has read himself: pixels, (H, W) in [0, 1], or an `Image`, which
    is its own source then; else that is the file, as it stores its pixels.

    Pixels that the file says are not square are made so, but by a `fit` or `resample` of other projects, which are not.

    The pixels are rounded to `bits`, so that what is cached is exactly what is read: training from the cache, training
    without it and serving see the same numbers. At 8 bits the rounding moves a pixel by at most 1/510 of the display
    range, a quarter of what most displays resolve.

    Attributes:
        size: side in pixels.
        preset: named recipe from stored to display values (`medvlp.io.preset_names`).
        bits: 8, 16, or 32 for unrounded.
        field: the image field.
        fit: how the picture meets the square, see `medvlp.io.resize`; models of other projects are shown it otherwise.
        resample: by which filter, see there.
        resize: side in pixels that `fit` speaks of; None: `size`.

    Raises:
        UnreadableImage: as `medvlp.io.read_image`.
        ConfigError: for a field of another kind, a size below 8, a resize below 1, or a preset that does not exist.

    Example:
        >>> Read(size=32)(Sample("a", {"text": "no image"}), torch.Generator()).fields
        {'text': 'no image'}
    """

    random: ClassVar[bool] = False

    size: int = 224
    preset: str = "dicom_voi_v1"
    bits: Bits = 8
    field: str = "image"
    fit: FitTo = "pad"
    resample: Resample = "area"
    resize: int | None = None

    def __post_init__(self) -> None:
        check_read("read", "image", self.field, self.size, self.preset)
        if self.resize is not None and self.resize < 1:
            raise ConfigError(f"read brings a picture to a side of resize={self.resize}: use 1 pixel or more.")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Read the file that the field names."""
        from medvlp.io.image import Image
        from medvlp.io.read import read_image
        from medvlp.io.resize import resize_pad

        source = sample.fields.get(self.field)
        if source is None:
            return sample
        if not isinstance(source, str | np.ndarray | Image):
            raise DataError(f"The field {self.field!r} of {sample.id!r} has been read already: use `read` once.")
        source = Image(source) if isinstance(source, np.ndarray) else source
        image = source if isinstance(source, Image) else read_image(source, preset=self.preset)
        spacing = None
        if (self.fit, self.resample, self.resize) == ("pad", "area", None):
            resized = resize_pad(image.pixels, self.size, spacing=image.spacing)
            fit, shown = resized.fit, resized.pixels
            corners = (*fit.to_source(0, 0), *fit.to_source(self.size, self.size))
            steps = (fit.source_height / fit.height, fit.source_width / fit.width)
        else:
            shown, corners = fit_to(
                image.pixels, self.size, fit=self.fit, resample=self.resample, resize=self.resize, bits=self.bits
            )
            steps = ((corners[3] - corners[1]) / self.size, (corners[2] - corners[0]) / self.size)
        if image.spacing is not None:
            spacing = (image.spacing[0] * steps[0], image.spacing[1] * steps[1])
        pixels = quantise(torch.from_numpy(shown)[None], self.bits)
        size = (image.pixels.shape[0], image.pixels.shape[1])
        facts = {"warnings": image.warnings, "modality": str(image.meta.get("Modality", ""))}
        record = ImageRecord(seed=0, box=corners, spacing=spacing, source=size, **facts)
        if image.to_file is not None and image is not source:
            record = turned_record(record, image.to_file, (self.size, self.size))
        return placed(sample, self.field, pixels, record)


def check_read(view: str, kind: str, field: str, size: int, preset: str) -> None:
    """Refuse a field of another kind, a size below 8, and a preset that does not exist."""
    if parse_field(field).kind != kind or size < 8:
        which = "an image" if kind == "image" else f"a {kind}"
        raise ConfigError(
            f"{view} makes {which} field of at least 8 pixels, not {field!r} of {size}: change field or size."
        )
    if preset not in preset_names():
        raise ConfigError(f"There is no preset {preset!r}, change it: {did_you_mean(preset, preset_names())}.")

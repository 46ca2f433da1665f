"""What a preset is: one of four ways from modality values to display values, and the table that says so in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Curve", "EqualisedJpeg", "FileDisplay", "FixedWindow", "Percentiles", "Preset"]


@dataclass(frozen=True)
class FileDisplay:
    """As the file asks: its VOI LUT Sequence, else its first valid window, else minimum to maximum."""


@dataclass(frozen=True)
class FixedWindow:
    """A window in Hounsfield units, LINEAR_EXACT (PS3.3 C.11.2.1.3.2): ``center - width / 2`` is 0, the other end 1."""

    center: float
    width: float

    @property
    def words(self) -> str:
        """Center, width and ends, for a sentence."""
        half = self.width / 2
        return (
            f"center {self.center:g}, width {self.width:g} ({self.center - half:g} to {self.center + half:g} HU), "
            "LINEAR_EXACT"
        )


@dataclass(frozen=True)
class Percentiles:
    """From the ``low`` to the ``high`` percentile of the values that are neither 0 nor padding."""

    low: float
    high: float


@dataclass(frozen=True)
class EqualisedJpeg:
    """Stored values to 8 bits from ``origin`` to the maximum, inverted if MONOCHROME1, histogram equalised.

    Attributes:
        origin: "minimum" subtracts the smallest value first and cuts decimals off; "zero" only divides, and rounds.
    """

    origin: Literal["minimum", "zero"]


Curve = FileDisplay | FixedWindow | Percentiles | EqualisedJpeg


@dataclass(frozen=True)
class Preset:
    """One recipe; every switch is read by the reader, and ``table`` says the same in words.

    Attributes:
        name: what configs and checkpoints call it; ends in its version.
        version: counts published behaviours under one base name.
        description: one sentence.
        curve: how modality values become display values.
        modalities: of DICOM files that it fits; () fits all.
        pictures: whether it takes PNG, JPEG and TIFF files, whose values are display values already.
        polarity: show MONOCHROME1 and Presentation LUT Shape INVERSE as they are meant, 1 = white.
        hang: turn radiographs of the trunk whose Patient Orientation is not the usual one.
        table: (stage, what is done) in order.
    """

    name: str
    version: int
    description: str
    curve: Curve
    modalities: tuple[str, ...]
    pictures: bool
    polarity: bool
    hang: bool
    table: tuple[tuple[str, str], ...]

"""Named, versioned recipes from stored values to display values, by one of four ways.

A preset belongs to the model that was trained with it and is stored in its checkpoint. A published preset never
changes: another behaviour is another version under another name.

Stored bits are cut out at the high bit and sign extended by Pixel Representation; padding (value or range) of an image
is left out of statistics and black in the result; then come Modality LUT or rescale, values of interest, polarity and
hanging. A volume keeps its voxels as they are stored, those of padding too: they count as values, and its steps say so.

``dicom_voi_v1``
    VOI LUT Sequence, else the first window by its VOI LUT Function, else minimum to maximum; inverted once if
    MONOCHROME1 or Presentation LUT Shape INVERSE; radiographs of the trunk turned to patient's left at the right hand,
    feet down; RGB, YBR and palette to RGB, gray by ITU-R BT.601 luma. PNG, JPEG, TIFF: value / largest value of the bit
    depth, EXIF orientation, alpha over black.
``mimic_jpg_v1``, ``chexpert_jpg_v1``
    Padding, modality, windows and Presentation LUT Shape are not looked at: 8 bits by (value - minimum) / (maximum -
    minimum) * 255 with decimals cut off, or |value * 255 / maximum| rounded, at most 255; 255 - value if MONOCHROME1;
    equalised as OpenCV's ``equalizeHist``; hung as stored; colour refused. PNG, JPEG, TIFF as above, not equalised, for
    the data set's own files are already.
``ct_*_v1``
    A window in Hounsfield units, refused without Modality LUT or rescale, or in another unit; the file's windows and
    polarity are not looked at; hung as stored; colour, PNG, JPEG and TIFF refused.
``mr_percentile_v1``
    Percentiles 0.5 (black) and 99.5 (white), linear between order statistics, of the values of this image, or of the
    whole volume, that are finite, not 0 and, in an image, not padding; minimum to maximum of all values if the two are
    equal, black if all values are. The rest as CT.

Sources: ``dicom_voi_v1`` PS3.3 C.11; ``mimic_jpg_v1`` and ``chexpert_jpg_v1`` what the makers of both data sets say
they ran (GitHub, MIT-LCP/mimic-cxr issue 16; stanfordmlgroup/chexpert-labeler issue 11); CT windows those customary in
radiology, which no standard fixes, ends at center less and plus half of the width (Radiopaedia, "Windowing (CT)");
``mr_percentile_v1`` after MedSAM (Ma et al. 2024, Nature Communications 15:654), which takes the values above 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medvlp.core.errors import UserError, did_you_mean


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
    """From the ``low`` to the ``high`` percentile of the values that are not 0 nor, in an image, padding."""

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
    """One recipe; every switch is read by the reader.

    Attributes:
        name: what configs and checkpoints call it; ends in its version.
        description: one sentence.
        curve: how modality values become display values.
        modalities: of DICOM files that it fits; () fits all.
        rasters: whether it takes PNG, JPEG and TIFF files, whose values are display values already.
        polarity: show MONOCHROME1 and Presentation LUT Shape INVERSE as they are meant, 1 = white.
        hang: turn radiographs of the trunk whose Patient Orientation is not the usual one.
    """

    name: str
    description: str
    curve: Curve
    modalities: tuple[str, ...]
    rasters: bool
    polarity: bool
    hang: bool


def _jpeg(name: str, whose: str, curve: EqualisedJpeg) -> Preset:
    words = f"Chest radiographs as the JPEG files of {whose} were made of DICOM, before JPEG's own loss."
    return Preset(name, words, curve, ("CR", "DX", "RG"), rasters=True, polarity=True, hang=False)


def _ct(part: str, center: float, width: float) -> Preset:
    window = FixedWindow(center, width)
    words = f"CT in the {part.replace('_', ' ')} window: {window.words}; images and volumes."
    return Preset(f"ct_{part}_v1", words, window, ("CT",), rasters=False, polarity=False, hang=False)


_DICOM = "DICOM's grayscale display pipeline (PS3.3 C.11.1, C.11.2, C.11.6), as a PACS shows the image."
_MR = "MR from the 0.5 to the 99.5 percentile of the values that are not 0; images and volumes."
_CT = {
    "lung": (-600, 1500), "mediastinum": (50, 350), "soft_tissue": (50, 400), "liver": (30, 150), "bone": (400, 1800),
    "brain": (40, 80), "stroke": (40, 40),
}  # fmt: skip
_ALL = (
    Preset("dicom_voi_v1", _DICOM, FileDisplay(), (), rasters=True, polarity=True, hang=True),
    _jpeg("mimic_jpg_v1", "MIMIC-CXR-JPG", EqualisedJpeg("minimum")),
    _jpeg("chexpert_jpg_v1", "CheXpert", EqualisedJpeg("zero")),
    *(_ct(part, *window) for part, window in _CT.items()),
    Preset("mr_percentile_v1", _MR, Percentiles(0.5, 99.5), ("MR",), rasters=False, polarity=False, hang=False),
)
_PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, sorted.

    Example:
        >>> [name for name in preset_names() if not name.startswith("ct_")]
        ['chexpert_jpg_v1', 'dicom_voi_v1', 'mimic_jpg_v1', 'mr_percentile_v1']
    """
    return tuple(sorted(_PRESETS))


def volume_preset_names() -> tuple[str, ...]:
    """Return the names of the presets that fit volumes, sorted."""
    return tuple(name for name in preset_names() if isinstance(_PRESETS[name].curve, FixedWindow | Percentiles))


def preset_info(name: str) -> Preset:
    """Return the preset called ``name``.

    Raises:
        UserError: there is no such preset.

    Example:
        >>> preset_info("ct_brain_v1").description
        'CT in the brain window: center 40, width 80 (0 to 80 HU), LINEAR_EXACT; images and volumes.'
    """
    if name not in _PRESETS:
        raise UserError(f"there is no preprocessing preset {name!r}: {did_you_mean(name, preset_names())}.")
    return _PRESETS[name]

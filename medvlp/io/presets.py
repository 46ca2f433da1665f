"""Named, versioned recipes from stored values to display values.

A preset belongs to the model that was trained with it and is stored in its checkpoint. A published preset never
changes: another behaviour is another version under another name.
"""

from __future__ import annotations

from dataclasses import dataclass

from medvlp.core.errors import UserError

__all__ = ["Preset", "preset_info", "preset_names"]


@dataclass(frozen=True)
class Preset:
    """One recipe; every switch is read by the reader, and ``table`` says the same in words.

    Attributes:
        name: what configs and checkpoints call it; ends in its version.
        version: counts published behaviours under one base name.
        description: one sentence.
        voi_lut: apply the VOI LUT Sequence if there is one.
        window: else apply the first valid window.
        polarity: show MONOCHROME1 and Presentation LUT Shape INVERSE as they are meant, 1 = white.
        hang: turn radiographs of the trunk whose Patient Orientation is not the usual one.
        table: (stage, what is done) in order.
    """

    name: str
    version: int
    description: str
    voi_lut: bool
    window: bool
    polarity: bool
    hang: bool
    table: tuple[tuple[str, str], ...]


_PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="dicom_voi_v1",
            version=1,
            description="DICOM's grayscale display pipeline (PS3.3 C.11.1, C.11.2, C.11.6), as a PACS shows the image.",
            voi_lut=True,
            window=True,
            polarity=True,
            hang=True,
            table=(
                ("stored values", "bits stored cut out at the high bit, sign extended by Pixel Representation"),
                ("padding", "Pixel Padding Value or range: left out of statistics, black in the result"),
                ("modality", "Modality LUT Sequence, else Rescale Slope and Intercept, else none"),
                (
                    "values of interest",
                    "VOI LUT Sequence, else first window by VOI LUT Function, else minimum to maximum",
                ),
                ("polarity", "inverted once if MONOCHROME1 or Presentation LUT Shape INVERSE"),
                ("hanging", "radiographs of the trunk turned to patient's left at the right hand, feet down"),
                ("colour", "RGB, YBR and palette to RGB; gray by ITU-R BT.601 luma where gray is asked for"),
                ("PNG, JPEG, TIFF", "value / largest value of the bit depth; EXIF orientation; alpha over black"),
            ),
        ),
    )
}


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, sorted.

    Example:
        >>> preset_names()
        ('dicom_voi_v1',)
    """
    return tuple(sorted(_PRESETS))


def preset_info(name: str) -> Preset:
    """Return the preset called ``name``.

    Raises:
        UserError: there is no such preset.

    Example:
        >>> preset_info("dicom_voi_v1").version
        1
    """
    if name not in _PRESETS:
        raise UserError(f"there is no preprocessing preset {name!r}: choose one of {', '.join(preset_names())}.")
    return _PRESETS[name]

"""A DICOM file to a display-ready image: the pipeline of PS3.3 C.11 in its order, every step on the record."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medvlp.io.color import as_color, palette_table, ybr_full_to_rgb
from medvlp.io.dicom_display import frame_items, grayscale
from medvlp.io.dicom_file import Parsed
from medvlp.io.dicom_frames import Stored, read_frame
from medvlp.io.dicom_header import Header
from medvlp.io.dicom_layout import Layout, check_layout
from medvlp.io.dicom_windows import windows_of
from medvlp.io.errors import UnreadableImage
from medvlp.io.geometry import Hanging, find_spacing, hanging_of
from medvlp.io.image import Account, Image, SpacingKind
from medvlp.io.presets import FileDisplay, Preset

#: Tags that may enter ``Image.meta``: what the picture is and how it was made. Patient, dates, places, identifiers and
#: free text are left out; so are sex and age, which a cohort's table provides when they are wanted.
META_TAGS: tuple[str, ...] = (
    "Modality", "SOPClassUID", "ImageType", "PresentationIntentType", "BodyPartExamined", "ViewPosition", "Laterality",
    "ImageLaterality", "PatientOrientation", "Manufacturer", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "LossyImageCompression", "BurnedInAnnotation", "RecommendedDisplayFrameRate", "CineRate", "FrameTime",
)  # fmt: skip
_INTEGERS = {
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation",
}  # fmt: skip
_FRAME_GROUPS = ("PixelMeasuresSequence", "FrameVOILUTSequence", "PixelValueTransformationSequence")
# The characters of VR CS and UI, and of makers' names: anything else in these tags is not what belongs there.
_SAFE = re.compile(r"[A-Za-z0-9 _.,&()/+-]{1,64}")


def read_dicom(
    parsed: Parsed, *, preset: Preset, frame: int | None, color: Literal["gray", "rgb"],
    window: int | str | None = None,
) -> Image:  # fmt: skip
    """Read one frame as a display shows it; arguments and errors as `medvlp.io.read_image`."""
    notes = list(parsed.warnings)
    layout = check_layout(parsed, notes)
    modality = (parsed.header.text("Modality") or "").upper()
    gray = layout.samples == 1 and layout.photometric != "PALETTE COLOR"
    _refuse_mismatch(preset, modality, gray, window)
    index = choose_frame(layout, frame, notes)
    stored = read_frame(parsed, layout, index, notes)
    groups = groups_of(parsed.header, index, layout.frames, notes)
    account = Account([f"frame {index} of {layout.frames}"] if layout.frames > 1 else [], notes)
    account.steps.append(stored.step)
    if gray:
        pixels = grayscale(stored, layout, groups, preset, window, account)
    else:
        pixels = rgb_of(stored, layout, parsed.header, account)
    pixels = as_color(pixels, color, account)
    place = placed(groups, modality, account, hang=preset.hang)
    turned = not place.hanging.identity
    pixels = place.hanging.apply(pixels) if turned else pixels
    return Image(
        pixels=pixels, spacing=place.spacing, spacing_kind=place.kind, meta=meta_of(parsed, groups),
        steps=tuple(account.steps), warnings=tuple(dict.fromkeys(notes)),
        to_file=place.hanging.to_stored(*pixels.shape[:2]) if turned else None,
    )  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """Spacing of the hung picture (row, column) in mm or None, what it measures, and how the stored one is turned."""

    spacing: tuple[float, float] | None
    kind: SpacingKind
    hanging: Hanging


def placed(groups: tuple[Header, ...], modality: str, account: Account, *, hang: bool = True) -> Placed:
    """Find spacing and hanging of a frame whose functional groups are given, and warn of a patient's data in it."""
    header = groups[-1]
    found = find_spacing((header, *frame_items(groups, "PixelMeasuresSequence")), modality, account.notes)
    account.steps.append(f"spacing: {found.source}, {found.kind or 'not said'}" if found.value else "spacing: none")
    hanging = hanging_of(header, modality, account.notes) if hang else Hanging()
    if not hanging.identity:
        account.steps.append(f"hanging: {hanging.words} by {hanging.source}")
    if (header.text("BurnedInAnnotation") or "").upper() == "YES":
        account.notes.append("BurnedInAnnotation is YES: the pixels may show a patient's data")
    if (header.text("PresentationIntentType") or "").upper() == "FOR PROCESSING":
        account.notes.append("PresentationIntentType is FOR PROCESSING: raw detector values, not made to be looked at")
    return Placed(found.value[::-1] if found.value and hanging.transpose else found.value, found.kind, hanging)


def _refuse_mismatch(preset: Preset, modality: str, gray: bool, window: int | str | None) -> None:
    if preset.modalities and modality not in preset.modalities:
        known = modality if modality.isalnum() and len(modality) <= 16 else "not readable" if modality else "missing"
        raise UnreadableImage(
            "preset_mismatch",
            detail=f"{preset.name} is for Modality {' or '.join(preset.modalities)}, its Modality is {known}",
        )
    if not gray and not isinstance(preset.curve, FileDisplay):
        raise UnreadableImage("preset_mismatch", detail=f"{preset.name} is for grayscale images, it is in colour")
    if not gray and window is not None:
        raise UnreadableImage("bad_window", detail=f"window {window!r} was asked for, it is in colour")


def choose_frame(layout: Layout, frame: int | None, notes: list[str]) -> int:
    """Return the index of the frame asked for; the first, with a note, where none was."""
    if frame is None:
        if layout.frames > 1:
            notes.append(f"the file has {layout.frames} frames: the first was taken (frame= chooses another)")
        return 0
    if frame not in range(layout.frames):
        detail = f"frame {frame!r} was asked for, it has frames 0 to {layout.frames - 1}"
        raise UnreadableImage("bad_frame", detail=detail)
    return int(frame)


def groups_of(header: Header, frame: int, frames: int, notes: list[str]) -> tuple[Header, ...]:
    """Return where attributes of this frame may stand: its functional groups, the shared ones, the data set itself."""
    shared = header.items("SharedFunctionalGroupsSequence")[:1]
    per_frame = header.items("PerFrameFunctionalGroupsSequence")
    if per_frame and len(per_frame) != frames:
        wrong = f"it has functional groups for {len(per_frame)} frames, NumberOfFrames is {frames}"
        if any(group.items(keyword) for group in per_frame for keyword in _FRAME_GROUPS):
            raise UnreadableImage("bad_header", detail=wrong)
        notes.append(f"{wrong}: none of them concerns the pixels")
        per_frame = ()
    return (*per_frame[frame : frame + 1], *shared, header)


def rgb_of(stored: Stored, layout: Layout, header: Header, account: Account) -> np.ndarray:
    """Return a frame of colours as float32 ``(H, W, 3)`` in [0, 1]."""
    if layout.photometric == "PALETTE COLOR":
        table, first = palette_table(header)
        account.steps.append(f"colour: palette of {len(table)} entries")
        return table[np.clip(stored.values.astype(np.int64) - first, 0, len(table) - 1)]
    scaled = np.clip(stored.values.astype(np.float64) / max(layout.maximum, 1), 0.0, 1.0)
    if stored.photometric in ("YBR_FULL", "YBR_FULL_422"):
        scaled = ybr_full_to_rgb(scaled)
        account.steps.append(f"colour: {stored.photometric} to RGB")
    elif stored.photometric != "RGB":
        raise UnreadableImage("bad_header", detail=f"{stored.photometric} without a JPEG 2000 stream")
    return scaled.astype(np.float32)


def meta_of(parsed: Parsed, groups: tuple[Header, ...]) -> dict[str, str | int | float]:
    """Return the allow-listed facts of a file, with the windows of the frame whose functional groups are given."""
    meta: dict[str, str | int | float] = {}
    for source in (*frame_items(groups, "FrameVOILUTSequence"), parsed.header):
        if windows := windows_of(source, []):  # what is wrong with them was said when one was chosen
            meta["Windows"] = ", ".join(f"{window.center:g}/{window.width:g}" for window in windows)
            if windows[0].function != "LINEAR":
                meta["VOILUTFunction"] = windows[0].function
            break
    for keyword in META_TAGS:
        if not parsed.header.has(keyword):
            continue
        if keyword in _INTEGERS:
            meta[keyword] = parsed.header.integer(keyword)
            continue
        values = parsed.header.texts(keyword)
        if values and all(not value or _SAFE.fullmatch(value) for value in values) and any(values):
            meta[keyword] = "\\".join(values)
    if parsed.syntax and all(character in "0123456789." for character in parsed.syntax):
        meta["TransferSyntaxUID"] = parsed.syntax
    return meta

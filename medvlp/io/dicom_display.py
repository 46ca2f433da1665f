"""Stored values of a grayscale DICOM frame to display values: PS3.3 C.11 in its order, every step on the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medvlp.io.dicom_frames import Stored
from medvlp.io.dicom_header import Header
from medvlp.io.dicom_layout import Layout
from medvlp.io.dicom_windows import choose_window
from medvlp.io.errors import UnreadableImage
from medvlp.io.image import Account
from medvlp.io.lut import (
    LookupTable,
    Rescale,
    full_range,
    looked_up,
    lookup_table,
    padding_mask,
    percentile_range,
    window,
)
from medvlp.io.presets import Curve, EqualisedJpeg, FixedWindow, Percentiles, Preset


def grayscale(
    stored: Stored, layout: Layout, groups: tuple[Header, ...], preset: Preset, choice: int | str | None,
    account: Account,
) -> np.ndarray:  # fmt: skip
    """Return display values of one frame, float32 ``(H, W)`` in [0, 1]; padding is 0.

    Args:
        stored: its stored values ``(H, W)``.
        layout: the checked layout.
        groups: where its attributes may stand, the data set last.
        preset: the recipe.
        choice: window of the file, see ``read_image``.
        account: steps and warnings are appended here.
    """
    if isinstance(preset.curve, EqualisedJpeg):
        return _as_jpeg(stored.values, layout.photometric, preset.curve, account)
    shown = shown_by(stored, layout, groups, preset, choice, account)
    if shown.display is None:
        return np.zeros(stored.values.shape, np.float32)
    pixels = _apply(shown.display, stored.values, shown.low, shown.high)
    if shown.padding is not None and shown.padding.any():
        pixels[shown.padding] = 0.0
    return pixels


@dataclass(frozen=True, eq=False)
class Shown:
    """How stored values become display values.

    Attributes:
        display: stored values, as float64, to float64 in [0, 1]; None where every pixel is padding.
        modality: what makes modality values of stored ones.
        invert: whether the polarity is turned behind the values of interest.
        padding: bool ``(H, W)``, pixels that are black whatever their value; None where there are none.
        low: smallest stored value that is no padding; `high` the largest.
    """

    display: Callable[[np.ndarray], np.ndarray] | None
    modality: Modality
    invert: bool
    padding: np.ndarray | None
    low: float
    high: float


def shown_by(
    stored: Stored, layout: Layout, groups: tuple[Header, ...], preset: Preset, choice: int | str | None,
    account: Account,
) -> Shown:  # fmt: skip
    """Return how stored values are shown; arguments and errors as `grayscale`, whose preset is no equalised JPEG."""
    header = groups[-1]
    values = stored.values
    padding = _padding(stored, layout, header, account)
    modality = modality_of(layout, groups, account)
    valid = values if padding is None else values[~padding]
    if layout.kind != "int" and not np.isfinite(values).all():
        finite = np.isfinite(values)
        account.notes.append(f"pixels that are not finite, shown black: {int(values.size - finite.sum())}")
        padding = ~finite if padding is None else padding | ~finite
        valid = values[~padding]
    if valid.size == 0:
        account.notes.append("every pixel is padding")
        return Shown(None, modality, False, padding, 0, 0)
    low, high = valid.min(), valid.max()
    interest = values_of_interest(valid, modality, groups, preset.curve, choice, account)
    invert = preset.polarity and _inverted(header, layout.photometric, account)

    def display(numbers: np.ndarray) -> np.ndarray:
        shown = interest(modality.apply(numbers))
        return 1.0 - shown if invert else shown

    return Shown(display, modality, invert, padding, low, high)


def _apply(display: Callable[[np.ndarray], np.ndarray], values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Evaluate a pointwise function; over a table of all integers from low to high where that is the smaller work."""
    if values.dtype.kind == "f" or int(high) - int(low) >= values.size // 2:
        return display(np.asarray(values, np.float64)).astype(np.float32)
    table = display(np.arange(int(low), int(high) + 1, dtype=np.float64)).astype(np.float32)
    # Padding lies outside the table: it gets an end of it here, and is painted black by the caller.
    return looked_up(table, values, first=int(low))


def _padding(stored: Stored, layout: Layout, header: Header, account: Account) -> np.ndarray | None:
    name = {"int": "PixelPadding", "float32": "FloatPixelPadding"}.get(layout.kind, "DoubleFloatPixelPadding")
    try:
        value, limit = (_padding_number(header, name + end, layout) for end in ("Value", "RangeLimit"))
    except UnreadableImage as error:
        account.notes.append(f"{error.detail}: padding was not masked")
        return None
    if value is None:
        return None
    where = stored.values
    if stored.container is not None and not layout.minimum <= value <= layout.maximum:
        where = stored.container  # a value that does not fit the stored bits is only found before they are cut out
    mask = padding_mask(where, value, limit)
    form = "d" if layout.kind == "int" else "g"
    words = f"{name}Value {value:{form}}" + ("" if limit is None else f", {name}RangeLimit {limit:{form}}")
    account.steps.append(f"padding: {words}, {int(mask.sum())} pixels masked")
    return mask


def _padding_number(header: Header, keyword: str, layout: Layout) -> float | None:
    """Read a padding value by the pixels' own sign, whatever VR it was written with; None where there is none."""
    if layout.kind != "int" or not header.has(keyword):
        return next(iter(header.valid_numbers(keyword)), None)
    value = header.integer(keyword, signed=layout.signed)
    bits = layout.bits_allocated
    if layout.signed and value >= 1 << (bits - 1):
        return value - (1 << bits)
    if not layout.signed and value < 0:
        return value + (1 << bits)
    return value


def modality_of(layout: Layout, groups: tuple[Header, ...], account: Account) -> Modality:
    """Return what makes modality values of stored values of a frame whose functional groups are given."""
    header = groups[-1]
    if (header.text("PixelPresentation") or "").upper() in ("COLOR", "MIXED"):  # a supplemental palette (C.7.6.19)
        raise UnreadableImage("unsupported_format", detail="some of its values are colours", hint="export it in RGB")
    tables = header.items("ModalityLUTSequence")
    candidates = (*frame_items(groups, "PixelValueTransformationSequence"), header)
    source = next((each for each in candidates if each.has("RescaleSlope") or each.has("RescaleIntercept")), None)
    if tables:
        if source is not None:
            account.notes.append("both ModalityLUTSequence and RescaleSlope are present: the sequence was used")
        table = table_of(tables[0], "ModalityLUTSequence", signed_first=layout.signed)
        account.steps.append(f"modality: ModalityLUTSequence, {len(table.entries)} entries of {table.bits} bits")
        return Modality(table, signed=False, unit=(tables[0].text("ModalityLUTType") or "").upper())
    if source is None:
        account.steps.append("modality: none")
        return Modality(Rescale(1.0, 0.0), signed=layout.signed, unit=None)
    unit = (source.text("RescaleType") or header.text("RescaleType") or "").upper()
    slope, intercept = _one(source, "RescaleSlope", 1.0), _one(source, "RescaleIntercept", 0.0)
    if slope == 0:
        raise UnreadableImage("bad_rescale", detail="RescaleSlope is 0")
    account.steps.append(f"modality: RescaleSlope {slope:g}, RescaleIntercept {intercept:g}")
    rescale = Rescale(slope, intercept)
    lowest = layout.minimum if rescale.identity else min(layout.minimum * slope, layout.maximum * slope) + intercept
    return Modality(rescale, signed=layout.signed if rescale.identity else lowest < 0, unit=unit)


def _one(header: Header, keyword: str, default: float) -> float:
    try:
        values = header.numbers(keyword)
    except ValueError:
        raise UnreadableImage("bad_rescale", detail=f"{keyword} is not a finite number") from None
    return float(values[0]) if values else default


def _inverted(header: Header, photometric: str, account: Account) -> bool:
    """Whether to invert: once for MONOCHROME1 or INVERSE, which say the same (PS3.3 C.8.11.3.1.2, C.11.6)."""
    shape = (header.text("PresentationLUTShape") or "").upper()
    asked = [name for name, on in ((photometric, photometric == "MONOCHROME1"),
                                   (f"PresentationLUTShape {shape}", shape == "INVERSE")) if on]  # fmt: skip
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != (photometric == "MONOCHROME1"):
        account.notes.append(f"PresentationLUTShape {shape} contradicts {photometric}: the image was inverted once")
    account.steps.append(
        f"polarity: inverted by {' and '.join(asked)}" if asked else f"polarity: {photometric}, as stored"
    )
    return bool(asked)


def _as_jpeg(values: np.ndarray, photometric: str, curve: EqualisedJpeg, account: Account) -> np.ndarray:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnreadableImage("preset_mismatch", detail="it has pixels that are not finite")
    if values.min() == values.max():
        account.notes.append("all pixels have the same value")
    picture = eight_bits(values, curve)
    account.steps.append(f"values of interest: 8 bits from {curve.origin} to maximum of the stored values")
    if photometric == "MONOCHROME1":
        picture = 255 - picture
        account.steps.append("polarity: inverted by MONOCHROME1")
    account.steps.append("equalisation: histogram of 256 values")
    return (equalise(picture) / np.float32(255)).astype(np.float32)


def eight_bits(values: np.ndarray, curve: EqualisedJpeg) -> np.ndarray:
    """Scale stored values v to 8 bits, as the makers of MIMIC-CXR-JPG and CheXpert did.

    ::

        minimum   floor(255 (v - min) / (max - min))
        zero      min(255, round(|255 v / max|)), halves to even, in float32 as OpenCV's ``convertScaleAbs``

    Args:
        values: integers or finite floats of any shape, at least one.
        curve: which of the two.

    Returns:
        uint8 of the same shape; all 0 where the divisor is 0.
    """
    x = np.asarray(values, np.float64)
    x = x - x.min() if curve.origin == "minimum" else x
    top = float(x.max())
    if top == 0:
        return np.zeros(x.shape, np.uint8)
    if curve.origin == "minimum":
        return (x / top * 255).astype(np.uint8)
    return np.minimum(np.rint(np.abs(x.astype(np.float32) * np.float32(255.0 / top))), 255).astype(np.uint8)


def equalise(picture: np.ndarray) -> np.ndarray:
    """Equalise the histogram of an 8-bit picture, as OpenCV's ``equalizeHist`` (Pillow's and torchvision's differ).

    With n(v) pixels of value v, N in all, and m the smallest value that occurs::

        v -> round(255 sum(n(u), m < u <= v) / (N - n(m)))        computed in float32, halves to even

    Args:
        picture: uint8 of any shape, not empty; one of a single value stays as it is.
    """
    counts = np.bincount(picture.ravel(), minlength=256)
    smallest = int(np.flatnonzero(counts)[0])
    rest = int(counts.sum() - counts[smallest])
    if rest == 0:
        return picture
    counts[: smallest + 1] = 0
    # float32 as there: the same halves fall to the same side.
    scaled = np.cumsum(counts).astype(np.float32) * (np.float32(255) / np.float32(rest))
    return np.minimum(np.rint(scaled), 255).astype(np.uint8)[picture]


Pointwise = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Modality:
    """What makes modality values of stored ones, whether they can be negative, and their unit.

    `unit` is the Rescale Type or Modality LUT Type, "" where the file names none; None where nothing is applied.
    """

    apply: LookupTable | Rescale
    signed: bool
    unit: str | None


def frame_items(groups: tuple[Header, ...], keyword: str) -> tuple[Header, ...]:
    """Return the first item of a sequence from each group that has it, in the order of the groups."""
    return tuple(item for group in groups for item in group.items(keyword)[:1])


def table_of(item: Header, name: str, *, signed_first: bool) -> LookupTable:
    """Return the lookup table of a Modality or VOI LUT item; UnreadableImage ``bad_lut`` where it is none."""
    try:
        descriptor = [int(value) for value in item.numbers("LUTDescriptor")]
    except ValueError:
        raise UnreadableImage("bad_lut", detail=f"LUTDescriptor of {name} is not numbers") from None
    if len(descriptor) == 3 and signed_first and descriptor[1] > 32767:  # whatever VR a file writes it with
        descriptor[1] -= 65536
    return lookup_table(tuple(descriptor), item.raw("LUTData") or b"", item.order, name=name)


def values_of_interest(
    valid: np.ndarray, modality: Modality, groups: tuple[Header, ...], curve: Curve, choice: int | str | None,
    account: Account,
) -> Pointwise:  # fmt: skip
    """Return modality values -> [0, 1], by the preset's `curve`; `choice` is a window of the file, see ``read_image``.

    `valid` are stored values, at least one, that are neither padding nor infinite.
    """
    if isinstance(curve, FixedWindow):
        _require_hounsfield(modality, groups[-1])
        account.steps.append(f"values of interest: {curve.words}")
        return lambda values: window(values, curve.center, curve.width, "LINEAR_EXACT")
    if isinstance(curve, Percentiles):
        low, high = percentile_range(modality.apply(valid.astype(np.float64)), curve.low, curve.high)
        account.steps.append(f"values of interest: percentiles {curve.low:g} ({low:g}) to {curve.high:g} ({high:g})")
        return _between(low, high, account)
    shown = _asked_by_file(modality, groups, choice, account)
    if shown is not None:
        return shown
    # A table need not be monotone, and what it says of values that do not occur does not count.
    seen = modality.apply(
        valid if isinstance(modality.apply, LookupTable) else np.array([valid.min(), valid.max()], np.float64)
    )
    low, high = float(seen.min()), float(seen.max())
    account.steps.append(f"values of interest: minimum {low:g} to maximum {high:g} of the pixels")
    return _between(low, high, account)


def _asked_by_file(
    modality: Modality, groups: tuple[Header, ...], choice: int | str | None, account: Account
) -> Pointwise | None:
    """Return the file's own curve, a VOI LUT Sequence before a window unless one was chosen; None if it has none."""
    sources = (*frame_items(groups, "FrameVOILUTSequence"), groups[-1])
    found = (source.items("VOILUTSequence") for source in sources if choice is None)
    tables = next(filter(None, found), ())
    if tables:
        table = table_of(tables[0], "VOILUTSequence", signed_first=modality.signed)
        which = "" if len(tables) == 1 else f" 0 of {len(tables)}"
        account.steps.append(
            f"values of interest: VOILUTSequence{which}, {len(table.entries)} entries of {table.bits} bits"
        )
        return lambda values: table(values) / float((1 << table.bits) - 1)
    chosen = choose_window(sources, choice, account.notes)
    if chosen is None:
        return None
    account.steps.append(
        f"values of interest: {chosen.name}, WindowCenter {chosen.center:g}, WindowWidth {chosen.width:g}, "
        f"{chosen.function}"
    )
    return lambda values: window(values, chosen.center, chosen.width, chosen.function)


def _between(low: float, high: float, account: Account) -> Pointwise:
    if low == high:
        account.notes.append("all pixels have the same value")
    return lambda values: full_range(values, low, high)


def _require_hounsfield(modality: Modality, header: Header) -> None:
    """PS3.3 C.8.2.1.1: original CT images are in HU unless they are localizers or their Rescale Type says otherwise."""
    if "LOCALIZER" in (value.upper() for value in header.texts("ImageType")):
        raise UnreadableImage("preset_mismatch", detail="it is a localizer, whose values are no Hounsfield units")
    if modality.unit is None:
        raise UnreadableImage("preset_mismatch", detail="it has no RescaleSlope: its values are no Hounsfield units")
    if modality.unit not in ("", "HU"):
        raise UnreadableImage("preset_mismatch", detail="its RescaleType is not HU")

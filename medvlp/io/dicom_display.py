"""Stored values of a grayscale DICOM frame to display values: PS3.3 C.11 in its order, every step on the record."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from medvlp.io.dicom_frames import Stored
from medvlp.io.dicom_header import Header
from medvlp.io.dicom_layout import Layout
from medvlp.io.errors import UnreadableImage
from medvlp.io.lut import LookupTable, Rescale, full_range, lookup_table, padding_mask, window
from medvlp.io.presets import Preset

__all__ = ["frame_items", "grayscale", "modality_of"]


def frame_items(groups: tuple[Header, ...], keyword: str) -> tuple[Header, ...]:
    """Return the first item of a sequence from each group that has it, in the order of the groups."""
    return tuple(item for group in groups for item in group.items(keyword)[:1])


def grayscale(
    stored: Stored, layout: Layout, groups: tuple[Header, ...], preset: Preset, steps: list[str], notes: list[str]
) -> np.ndarray:
    """Return display values of one frame.

    Args:
        stored: its stored values ``(H, W)``.
        layout: the checked layout.
        groups: where its attributes may stand, the data set last.
        preset: the recipe.
        steps: what is done is appended here.
        notes: warnings are appended here.

    Returns:
        float32 ``(H, W)`` in [0, 1]; padding is 0.

    Raises:
        UnreadableImage: ``bad_lut`` or ``bad_rescale``.
    """
    header = groups[-1]
    values = stored.values
    padding = _padding(stored, layout, header, steps, notes)
    modality, signed = modality_of(layout, groups, steps, notes)
    valid = values if padding is None else values[~padding]
    if layout.kind != "int" and not np.isfinite(values).all():
        finite = np.isfinite(values)
        notes.append(f"{int(values.size - finite.sum())} pixels are not finite: shown black")
        padding = ~finite if padding is None else padding | ~finite
        valid = values[~padding]
    if valid.size == 0:
        notes.append("every pixel is padding")
        return np.zeros(values.shape, np.float32)
    low, high = valid.min(), valid.max()
    interest = _values_of_interest(modality, (low, high), groups, preset, signed, steps, notes)
    invert = preset.polarity and _inverted(header, layout.photometric, steps, notes)

    def display(numbers: np.ndarray) -> np.ndarray:
        shown = interest(modality(numbers))
        return (1.0 - shown if invert else shown).astype(np.float32)

    pixels = _apply(display, values, low, high)
    if padding is not None and padding.any():
        pixels[padding] = 0.0
    return pixels


def _apply(display: Callable[[np.ndarray], np.ndarray], values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Evaluate a pointwise function; over a table of all integers from low to high where that is the smaller work."""
    if values.dtype.kind == "f" or int(high) - int(low) >= values.size // 2:
        return display(np.asarray(values, np.float64))
    table = display(np.arange(int(low), int(high) + 1, dtype=np.float64))
    # Padding lies outside the table; it is clipped here and painted black by the caller.
    index = values.astype(np.int64 if values.dtype.itemsize > 2 else np.int32)
    index -= int(low)
    return table.take(index, mode="clip")


def _padding(stored: Stored, layout: Layout, header: Header, steps: list[str], notes: list[str]) -> np.ndarray | None:
    if layout.kind != "int" or not header.has("PixelPaddingValue"):
        return None
    try:
        value = _padding_number(header, "PixelPaddingValue", layout)
        limit = (
            _padding_number(header, "PixelPaddingRangeLimit", layout) if header.has("PixelPaddingRangeLimit") else None
        )
    except UnreadableImage as error:
        notes.append(f"{error.detail}: padding was not masked")
        return None
    storable = layout.minimum <= value <= layout.maximum
    # A padding value that does not fit the stored bits can only be found before they are cut out.
    where = stored.values if storable or stored.container is None else stored.container
    mask = padding_mask(where, value, limit)
    name = f"PixelPaddingValue {value}" + ("" if limit is None else f", PixelPaddingRangeLimit {limit}")
    steps.append(f"padding: {name}, {int(mask.sum())} pixels masked")
    return mask


def _padding_number(header: Header, keyword: str, layout: Layout) -> int:
    """Read a padding value by the pixels' own sign, whatever VR it was written with."""
    value = header.integer(keyword, signed=layout.signed)
    bits = layout.bits_allocated
    if layout.signed and value >= 1 << (bits - 1):
        return value - (1 << bits)
    if not layout.signed and value < 0:
        return value + (1 << bits)
    return value


def modality_of(
    layout: Layout, groups: tuple[Header, ...], steps: list[str], notes: list[str]
) -> tuple[LookupTable | Rescale, bool]:
    """Return stored -> modality values, and whether these can be negative.

    Args:
        layout: the checked layout.
        groups: where the frame's attributes may stand, the data set last.
        steps: what is done is appended here.
        notes: warnings are appended here.

    Raises:
        UnreadableImage: ``bad_lut`` or ``bad_rescale``.
    """
    header = groups[-1]
    tables = header.items("ModalityLUTSequence")
    source = next(
        (
            group
            for group in (*frame_items(groups, "PixelValueTransformationSequence"), header)
            if group.has("RescaleSlope") or group.has("RescaleIntercept")
        ),
        None,
    )
    if tables:
        if source is not None:
            notes.append("both ModalityLUTSequence and RescaleSlope are present: the sequence was used")
        table = _table(tables[0], "ModalityLUTSequence", signed_first=layout.signed)
        steps.append(f"modality: ModalityLUTSequence, {len(table.entries)} entries of {table.bits} bits")
        return table, False
    if source is None:
        steps.append("modality: none")
        return Rescale(1.0, 0.0), layout.signed
    slope, intercept = _one(source, "RescaleSlope", 1.0), _one(source, "RescaleIntercept", 0.0)
    if slope == 0:
        raise UnreadableImage("bad_rescale", detail="RescaleSlope is 0")
    steps.append(f"modality: RescaleSlope {slope:g}, RescaleIntercept {intercept:g}")
    rescale = Rescale(slope, intercept)
    if rescale.identity:
        return rescale, layout.signed
    lowest = min(layout.minimum * slope, layout.maximum * slope) + intercept
    return rescale, lowest < 0


def _one(header: Header, keyword: str, default: float) -> float:
    try:
        values = header.numbers(keyword)
    except (ValueError, struct.error):
        raise UnreadableImage("bad_rescale", detail=f"{keyword} is not a finite number") from None
    return float(values[0]) if values else default


def _table(item: Header, name: str, *, signed_first: bool) -> LookupTable:
    try:
        descriptor = [int(value) for value in item.numbers("LUTDescriptor")]
        first = [int(value) for value in item.numbers("LUTDescriptor", signed=signed_first)]
    except (ValueError, struct.error):
        raise UnreadableImage("bad_lut", detail=f"LUTDescriptor of {name} is not numbers") from None
    if len(descriptor) == 3:
        descriptor[1] = first[1]  # only the second value is a pixel value and may be signed
    return lookup_table(tuple(descriptor), item.raw("LUTData") or b"", item.order, name=name)


def _values_of_interest(
    modality: Callable[[np.ndarray], np.ndarray],
    extremes: tuple[float, float],
    groups: tuple[Header, ...],
    preset: Preset,
    signed: bool,
    steps: list[str],
    notes: list[str],
) -> Callable[[np.ndarray], np.ndarray]:
    """Return modality values -> [0, 1]."""
    sources = (*frame_items(groups, "FrameVOILUTSequence"), groups[-1])
    tables = groups[-1].items("VOILUTSequence") if preset.voi_lut else ()
    if tables:
        table = _table(tables[0], "VOILUTSequence", signed_first=signed)
        steps.append(f"values of interest: VOILUTSequence, {len(table.entries)} entries of {table.bits} bits")
        top = float((1 << table.bits) - 1)
        return lambda values: table(values) / top
    if preset.window:
        for source in sources:
            chosen = _first_window(source, notes)
            if chosen:
                center, width, function, which = chosen
                steps.append(f"values of interest: {which}, WindowCenter {center:g}, WindowWidth {width:g}, {function}")
                return lambda values: window(values, center, width, function)
    ends = modality(np.array(extremes, np.float64))  # monotone, or a table whose own extremes are taken below
    low, high = float(ends.min()), float(ends.max())
    if isinstance(modality, LookupTable):
        seen = (
            modality(np.arange(int(extremes[0]), int(extremes[1]) + 1)) if extremes[1] - extremes[0] < 1 << 17 else ends
        )
        low, high = float(seen.min()), float(seen.max())
    steps.append(f"values of interest: minimum {low:g} to maximum {high:g} of the pixels")
    if low == high:
        notes.append("all pixels have the same value")
    return lambda values: full_range(values, low, high)


def _first_window(header: Header, notes: list[str]) -> tuple[float, float, str, str] | None:
    """Return center, width, function and its name of the first window that the standard allows."""
    try:
        centers, widths = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    except (ValueError, struct.error):
        notes.append("WindowCenter or WindowWidth is not a finite number: no window was applied")
        return None
    if len(centers) != len(widths):
        notes.append(
            f"{len(centers)} WindowCenter and {len(widths)} WindowWidth values: those that pair up were considered"
        )
    function = (header.text("VOILUTFunction") or "LINEAR").upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        notes.append("VOILUTFunction is not a defined term: LINEAR was taken")
        function = "LINEAR"
    total = min(len(centers), len(widths))
    for index, (center, width) in enumerate(zip(centers, widths, strict=False)):
        name = "window" if total == 1 else f"window {index + 1} of {total}"
        if width >= 1 or (width > 0 and function != "LINEAR"):
            return center, width, function, name
        if width > 0:
            notes.append(f"WindowWidth {width:g} is below 1, which LINEAR does not allow: LINEAR_EXACT was applied")
            return center, width, "LINEAR_EXACT", name
        notes.append(f"WindowWidth {width:g} is not allowed: {name} was passed over")
    return None


def _inverted(header: Header, photometric: str, steps: list[str], notes: list[str]) -> bool:
    """Whether to invert: once for MONOCHROME1 or INVERSE, which say the same (PS3.3 C.8.11.3.1.2, C.11.6)."""
    shape = (header.text("PresentationLUTShape") or "").upper()
    asked = [name for name, on in ((photometric, photometric == "MONOCHROME1"),
                                   (f"PresentationLUTShape {shape}", shape == "INVERSE")) if on]  # fmt: skip
    if shape and (shape == "INVERSE") != (photometric == "MONOCHROME1"):
        known = shape if shape in ("IDENTITY", "INVERSE", "LIN OD") else "of unknown value"
        if known in ("IDENTITY", "INVERSE"):
            notes.append(f"PresentationLUTShape {known} contradicts {photometric}: the image was inverted once")
    steps.append(f"polarity: inverted by {' and '.join(asked)}" if asked else f"polarity: {photometric}, as stored")
    return bool(asked)

"""Stored values of a grayscale DICOM frame to display values: PS3.3 C.11 in its order, every step on the record."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medvlp.io.dicom_frames import Stored
from medvlp.io.dicom_header import Header
from medvlp.io.dicom_layout import Layout
from medvlp.io.dicom_values import Modality, frame_items, table_of, values_of_interest
from medvlp.io.errors import UnreadableImage
from medvlp.io.image import Account
from medvlp.io.lut import Rescale, padding_mask
from medvlp.io.presets import EqualisedJpeg, Preset


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

    Raises:
        UnreadableImage: ``bad_lut``, ``bad_rescale``, ``bad_window`` or ``preset_mismatch``.
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
        low: smallest stored value that is no padding.
        high: largest stored value that is no padding.
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
        account.notes.append(f"{int(values.size - finite.sum())} pixels are not finite: shown black")
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
    # Padding lies outside the table; it is clipped here and painted black by the caller.
    index = values.astype(np.int64 if values.dtype.itemsize > 2 else np.int32)
    index -= int(low)
    return table.take(index, mode="clip")


def _padding(stored: Stored, layout: Layout, header: Header, account: Account) -> np.ndarray | None:
    if layout.kind != "int" or not header.has("PixelPaddingValue"):
        return None
    try:
        value, limit = (
            _padding_number(header, keyword, layout) if header.has(keyword) else None
            for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        )
    except UnreadableImage as error:
        account.notes.append(f"{error.detail}: padding was not masked")
        return None
    assert value is not None
    storable = layout.minimum <= value <= layout.maximum
    # A padding value that does not fit the stored bits can only be found before they are cut out.
    where = stored.values if storable or stored.container is None else stored.container
    mask = padding_mask(where, value, limit)
    name = f"PixelPaddingValue {value}" + ("" if limit is None else f", PixelPaddingRangeLimit {limit}")
    account.steps.append(f"padding: {name}, {int(mask.sum())} pixels masked")
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


def modality_of(layout: Layout, groups: tuple[Header, ...], account: Account) -> Modality:
    """Return what makes modality values of stored values of a frame whose functional groups are given.

    Raises:
        UnreadableImage: ``bad_lut`` or ``bad_rescale``.
    """
    header = groups[-1]
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
    except (ValueError, struct.error):
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

    Example:
        >>> eight_bits(np.array([100, 150, 300]), EqualisedJpeg("minimum")).tolist()
        [0, 63, 255]
        >>> eight_bits(np.array([100, 150, 300]), EqualisedJpeg("zero")).tolist()
        [85, 128, 255]
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

    Example:
        >>> equalise(np.array([10, 10, 20, 30, 30], np.uint8)).tolist()
        [0, 0, 85, 255, 255]
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

"""What a DICOM file's first frame should look like: written once more from PS3.3 and PS3.5, on pydicom's parse.

It shares nothing with the reader but the standard: values and stored pixels come from ``pydicom.dcmread`` and
``pydicom.pixels.pixel_array``, formulas are the standard's own, written in full, without tables and without speed.
"""

from __future__ import annotations

import io
import itertools
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.pixels import apply_color_lut, pixel_array

__all__ = ["NoOpinion", "Opinion", "opinion_of"]

_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
_RLE = "1.2.840.10008.1.2.5"
_LOSSY_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_TRUNK = (
    "CHEST", "THORAX", "RIB", "RIBS", "LUNG", "HEART", "STERNUM", "ABDOMEN", "PELVIS", "SPINE", "TSPINE", "LSPINE",
    "CSPINE", "TRUNK",
)  # fmt: skip
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


class NoOpinion(Exception):  # noqa: N818 (it is no error to have none)
    """pydicom does not parse or decode the file; the message is its exception's type."""


@dataclass(frozen=True)
class Opinion:
    """Display values ``(H, W)`` in [0, 1], and how far from them rounding may lead."""

    pixels: np.ndarray
    tolerance: float


def opinion_of(data: bytes) -> Opinion:
    """Return what the first frame of a DICOM file looks like in gray.

    Raises:
        NoOpinion: pydicom cannot parse or decode it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = _parsed(data)
            _complete(file)
            photometric = str(file.get("PhotometricInterpretation") or "MONOCHROME2").strip().upper()
            if photometric.startswith("MONOCHROME"):
                return Opinion(_hung(file, _gray(file, photometric)), 2e-7)
            rgb, tolerance = _rgb(file, photometric)
            return Opinion(_hung(file, rgb @ np.array([0.299, 0.587, 0.114])), tolerance)
        # Rust's panics derive from BaseException.
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise NoOpinion(type(error).__name__) from error


def _parsed(data: bytes) -> Any:
    """Return pydicom's parse up to the pixels.

    Where a file is damaged behind them, or their last delimiter is cut off, ``dcmread`` gives back none of the elements
    that it has read; then it is stopped after the pixels.
    """
    try:
        file = pydicom.dcmread(io.BytesIO(data), force=True)
    except Exception:
        file = Dataset()
    if "Rows" in file:
        return file
    tries = (data, data + _DELIMITER)
    found = [read_partial(io.BytesIO(one), lambda tag, *_: tag > 0x7FE00010, force=True) for one in tries]
    return found[0] if "Rows" in found[0] else found[1]


def _complete(file: Any) -> None:
    """Name the transfer syntax that pydicom has parsed by, where the file names none; and what has a default."""
    syntax = file.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_transfer_syntax:
        implicit, little = file.original_encoding
        file.file_meta.TransferSyntaxUID = (
            "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
        )
    if file.get("SamplesPerPixel") is None:
        file.SamplesPerPixel = 1
    if file.get("PhotometricInterpretation") is None:
        file.PhotometricInterpretation = "MONOCHROME2"
    if file.get("PixelRepresentation") is None:
        file.PixelRepresentation = 0
    if file.get("BitsStored") is None:
        file.BitsStored = file.BitsAllocated


def _numbers(source: Dataset, keyword: str) -> list[float]:
    value = source.get(keyword)
    if value is None or (isinstance(value, str | bytes) and not value):
        return []
    values = list(value) if isinstance(value, pydicom.multival.MultiValue | list | tuple) else [value]
    return [float(one) for one in values if one not in ("", None)]


def _groups(file: Dataset, keyword: str) -> list[Dataset]:
    """Return the first item of a functional group: of the first frame, then of all frames."""
    holders = [list(file.get(name) or [])[:1] for name in ("PerFrameFunctionalGroupsSequence",
                                                            "SharedFunctionalGroupsSequence")]  # fmt: skip
    return [item for holder in itertools.chain(*holders) for item in list(holder.get(keyword) or [])[:1]]


# --- stored values, PS3.5 8.1.1 --------------------------------------------------------------------------------------


def _stored(file: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return stored values of one sample a pixel, and what they were cut out of."""
    if "PixelData" not in file:
        values = pixel_array(file, index=0).astype(np.float64)
        return values, values
    syntax = file.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax != _RLE:
        values = pixel_array(file, index=0, raw=True).astype(np.int64)
        return values, values
    container = pixel_array(file, index=0, raw=True, correct_unused_bits=False).astype(np.int64)
    if file.BitsAllocated == 1:
        return container, container
    stored, signed = int(file.BitsStored), file.PixelRepresentation == 1
    high = int(file.get("HighBit", stored - 1))
    values = (container % (1 << file.BitsAllocated)) >> (high + 1 - stored) & ((1 << stored) - 1)
    return (np.where(values >= 1 << (stored - 1), values - (1 << stored), values) if signed else values), container


# --- grayscale, PS3.3 C.11 -------------------------------------------------------------------------------------------


def _gray(file: Dataset, photometric: str) -> np.ndarray:
    stored, container = _stored(file)
    padding = _padding(file, stored, container)
    values, signed = _modality(file, stored.astype(np.float64), bool(file.PixelRepresentation))
    kept = values[~padding]
    if not kept.size:
        return np.zeros(values.shape)
    shown = _of_interest(file, values, kept, signed)
    # PS3.3 C.11.6 and C.8.11.3.1.2: two ways to say one thing.
    if photometric == "MONOCHROME1" or str(file.get("PresentationLUTShape") or "").strip().upper() == "INVERSE":
        shown = 1 - shown
    return np.where(padding, 0.0, shown)


def _padding(file: Dataset, stored: np.ndarray, container: np.ndarray) -> np.ndarray:
    """PS3.3 C.7.5.1.1.2; the value may lie outside of the stored bits, then it is one of the container."""
    if "PixelData" not in file or not _numbers(file, "PixelPaddingValue"):
        return ~np.isfinite(stored.astype(np.float64))
    allocated, bits = int(file.BitsAllocated), int(file.BitsStored)
    signed = bool(file.PixelRepresentation) and allocated > 1
    ends = [int(_numbers(file, name)[0]) % (1 << max(16, allocated)) for name in (
        "PixelPaddingValue", "PixelPaddingRangeLimit") if _numbers(file, name)]  # fmt: skip
    half = 1 << (max(16, allocated) - 1)
    ends = [end - 2 * half if signed and end >= half else end for end in ends]
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    where = stored if low <= ends[0] <= high else container
    return (where >= min(ends)) & (where <= max(ends))


def _modality(file: Dataset, values: np.ndarray, signed: bool) -> tuple[np.ndarray, bool]:
    """Return modality values (C.11.1), and whether they can be negative."""
    if tables := list(file.get("ModalityLUTSequence") or []):
        return _table(tables[0], values, signed)[0], False
    for source in (*_groups(file, "PixelValueTransformationSequence"), file):
        slope, intercept = _numbers(source, "RescaleSlope"), _numbers(source, "RescaleIntercept")
        if slope or intercept:
            m, b = (slope or [1.0])[0], (intercept or [0.0])[0]
            bits = int(file.BitsStored) if "PixelData" in file else 64
            extremes = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1]
            return values * m + b, min(m * end + b for end in extremes) < 0
    return values, signed


def _table(item: Dataset, values: np.ndarray, signed: bool) -> tuple[np.ndarray, int]:
    """Look values up (C.11.1.1, C.11.2.1.1); return entries and the bits of one."""
    count, first, bits = (int(number) for number in _numbers(item, "LUTDescriptor"))
    count, first = count % 65536 or 65536, first % 65536
    first = first - 65536 if signed and first >= 32768 else first
    written = item.get("LUTData")
    if isinstance(written, bytes):
        entries = np.frombuffer(written[: count if len(written) < 2 * count else 2 * count],
                                np.uint8 if len(written) < 2 * count else _order(item) + "u2")  # fmt: skip
    else:
        entries = np.array(_numbers(item, "LUTData")) % 65536
        if len(entries) < count:  # entries of 8 bits, two in a word
            entries = np.frombuffer(entries.astype(_order(item) + "u2").tobytes(), np.uint8)
    index = np.clip(np.rint(values) - first, 0, count - 1).astype(np.int64)
    return entries.astype(np.float64)[index], bits


def _order(item: Dataset) -> str:
    return "<" if item.is_little_endian is not False else ">"


def _of_interest(file: Dataset, values: np.ndarray, kept: np.ndarray, signed: bool) -> np.ndarray:
    """C.11.2: the VOI LUT Sequence, else the first window that the standard allows, else all that is there."""
    if tables := list(file.get("VOILUTSequence") or []):
        entries, bits = _table(tables[0], values, signed)
        return entries / (2**bits - 1)
    for source in (*_groups(file, "FrameVOILUTSequence"), file):
        function = str(source.get("VOILUTFunction") or "LINEAR").strip().upper()
        for c, w in zip(_numbers(source, "WindowCenter"), _numbers(source, "WindowWidth"), strict=False):
            if w >= 1 or (w > 0 and function != "LINEAR"):
                return _windowed(values, c, w, function)
    low, high = kept.min(), kept.max()
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros(values.shape)


def _windowed(x: np.ndarray, c: float, w: float, function: str) -> np.ndarray:
    """C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2, with an output from 0 to 1."""
    if not (math.isfinite(c) and math.isfinite(w)):
        raise ValueError("the window is not finite")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-4 * (x - c) / w))
    if function == "LINEAR_EXACT":
        inside = (x - c) / w + 0.5
        return np.select([x <= c - w / 2, x > c + w / 2], [0.0, 1.0], inside)
    inside = (x - (c - 0.5)) / (w - 1) + 0.5 if w > 1 else x
    return np.select([x <= c - 0.5 - (w - 1) / 2, x > c - 0.5 + (w - 1) / 2], [0.0, 1.0], inside)


# --- colour, PS3.3 C.7.6.3.1.2 and C.7.6.3.1.5 -----------------------------------------------------------------------


def _rgb(file: Any, photometric: str) -> tuple[np.ndarray, float]:
    """Return ``(H, W, 3)`` in [0, 1] and the tolerance: lossy JPEG is converted by whole numbers."""
    syntax = file.file_meta.TransferSyntaxUID
    if photometric == "PALETTE COLOR":
        return _palette(file, pixel_array(file, index=0, raw=True)), 2e-7
    top = float(2 ** int(file.BitsStored) - 1)
    if syntax in _LOSSY_JPEG:
        return pixel_array(file, index=0) / top, 1.01 / top
    values = np.clip(pixel_array(file, index=0, raw=True) / top, 0, 1)
    if photometric in ("RGB", "YBR_ICT", "YBR_RCT"):  # the decoder of JPEG 2000 undoes its own transform
        return values, 2e-7
    # Y = kr R + kg G + kb B, Cb = (B - Y) / (2 - 2 kb) + 128/255, Cr = (R - Y) / (2 - 2 kr) + 128/255
    kr, kg, kb = 0.299, 0.587, 0.114
    y, cb, cr = values[..., 0], values[..., 1] - 128 / 255, values[..., 2] - 128 / 255
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return np.clip(np.stack([red, (y - kr * red - kb * blue) / kg, blue], axis=-1), 0, 1), 1e-6


def _palette(file: Dataset, stored: np.ndarray) -> np.ndarray:
    if "SegmentedRedPaletteColorLookupTableData" in file:
        colours = apply_color_lut(stored, file)
        return colours / float(np.iinfo(colours.dtype).max)
    planes = []
    for colour in ("Red", "Green", "Blue"):
        # Not apply_color_lut: it reads the words of a big endian file as little endian ones.
        count, first, bits = (int(n) for n in _numbers(file, f"{colour}PaletteColorLookupTableDescriptor"))
        count, data = count % 65536 or 65536, file[f"{colour}PaletteColorLookupTableData"].value
        entries = np.frombuffer(data, np.uint8 if len(data) < 2 * count else _order(file) + "u2").astype(np.int64)
        if bits == 8 and entries.max() > 255:
            entries >>= 8  # not the standard's way, but in use: 8 bits in the upper half of a word
        index = np.clip(stored.astype(np.int64) - first, 0, count - 1)
        planes.append(entries[index] / (2**bits - 1))
    return np.stack(planes, axis=-1)


# --- hanging ---------------------------------------------------------------------------------------------------------


def _hung(file: Dataset, pixels: np.ndarray) -> np.ndarray:
    """Turn a radiograph of the trunk until its columns run to the feet and frontal rows to the patient's left."""
    part = str(file.get("BodyPartExamined") or "").upper().replace(" ", "").replace("_", "")
    written = file.get("PatientOrientation") or []
    letters = [str(one).strip()[:1] for one in written] if not isinstance(written, str) else []
    if str(file.get("Modality") or "").strip().upper() not in ("CR", "DX", "RG") or (part and part not in _TRUNK):
        return pixels
    if len(letters) != 2 or sorted(letter in "HF" for letter in letters if letter) != [False, True]:
        return pixels
    row, column = letters
    if row in "HF":
        pixels, row, column = pixels.T, column, row
    if row not in _OPPOSITE:
        return pixels if row is letters[0] else pixels.T
    if row == "R":
        pixels = pixels[:, ::-1]
    return pixels[::-1] if column == "H" else pixels

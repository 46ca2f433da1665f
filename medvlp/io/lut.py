"""Grayscale transformations of DICOM as functions on arrays: modality, values of interest, padding (PS3.3 C.11)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvlp.io.errors import UnreadableImage

_PART = 2**16  # numbers whose places the nearest cache holds


@dataclass(frozen=True, eq=False)
class LookupTable:
    """A Modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1).

    Attributes:
        entries: integers ``(N,)``.
        first: value that the first entry belongs to.
        bits: depth of the entries; the output range is 0 to 2**bits - 1.
    """

    entries: np.ndarray
    first: int
    bits: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map values to entries; below the first and above the last value, the first and the last entry.

        Args:
            values: any shape, integers or whole-numbered floats.

        Returns:
            float64 of the same shape, 0 to 2**bits - 1.
        """
        index = np.clip(np.rint(np.asarray(values, np.float64)) - self.first, 0, len(self.entries) - 1)
        return self.entries.astype(np.float64)[index.astype(np.int64)]


def looked_up(table: np.ndarray, values: np.ndarray, *, first: int = 0) -> np.ndarray:
    """Return the entries of a table for whole numbers of any shape, of which `first` is the table's first.

    Numbers outside the table get its ends. It is done in parts, as numpy reads places as 8 bytes each: those of a whole
    film would take three times as long.

    Example:
        >>> looked_up(np.array([0.0, 0.5, 1.0]), np.array([[9, 11]], np.uint8), first=10)
        array([[0. , 0.5]])
    """
    flat = values.reshape(-1)
    found = np.empty(flat.shape, table.dtype)
    for start in range(0, flat.size, _PART):
        places = flat[start : start + _PART].astype(np.int64)
        places -= first
        table.take(places, out=found[start : start + _PART], mode="clip")
    return found.reshape(values.shape)


@dataclass(frozen=True)
class Rescale:
    """Modality value = slope * stored value + intercept (PS3.3 C.11.1.1.2)."""

    slope: float
    intercept: float

    @property
    def identity(self) -> bool:
        """Whether stored values are modality values."""
        return self.slope == 1 and self.intercept == 0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map stored values of any shape; float64, or the values themselves where nothing is to be done."""
        return values if self.identity else values * self.slope + self.intercept


def window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Map values to [0, 1] by a VOI window.

    With c the center, w the width and x a value (PS3.3 C.11.2.1.2.1, C.11.2.1.3.2, C.11.2.1.3.1)::

        LINEAR        0 for x <= c - 0.5 - (w-1)/2;  1 for x > c - 0.5 + (w-1)/2;  else (x - (c-0.5)) / (w-1) + 0.5
        LINEAR_EXACT  0 for x <= c - w/2;            1 for x > c + w/2;            else (x - c) / w + 0.5
        SIGMOID       1 / (1 + exp(-4 (x - c) / w))

    Args:
        values: modality values of any shape.
        center: Window Center.
        width: Window Width; at least 1 for LINEAR, above 0 for the others.
        function: VOI LUT Function.

    Returns:
        float64 of the same shape.

    Raises:
        ValueError: a width or function that the standard does not allow.

    Example:
        >>> window(np.array([-160.0, 240.0]), center=40, width=400)
        array([0., 1.])
    """
    x = np.asarray(values, np.float64)
    if not (np.isfinite(center) and np.isfinite(width)):
        raise ValueError(f"window {center}, {width} is not finite")
    if function == "LINEAR":
        if width < 1:
            raise ValueError(f"Window Width {width} is below 1")
        if width == 1:
            return (x > center - 0.5).astype(np.float64)
        return np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0.0, 1.0)
    if width <= 0:
        raise ValueError(f"Window Width {width} is not above 0")
    if function == "LINEAR_EXACT":
        return np.clip((x - center) / width + 0.5, 0.0, 1.0)
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (x - center) / width, -700.0, 700.0)))
    raise ValueError(f"VOI LUT Function {function!r} is not LINEAR, LINEAR_EXACT or SIGMOID")


def full_range(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map ``low`` to 0 and ``high`` to 1; all to 0 where they are equal."""
    x = np.asarray(values, np.float64)
    return np.clip((x - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(x)


def percentile_range(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return two percentiles of the values that are neither 0 nor infinite nor NaN.

    Where the two are equal, minimum and maximum of all finite values; where there is no finite value, 0 and 0.

    Args:
        values: any shape.
        low: percent, 0 to 100.
        high: percent, above ``low``.

    Returns:
        both as floats, interpolated linearly between order statistics.

    Example:
        >>> percentile_range(np.array([0, 0, 0, 1, 2, 3]), 0.0, 50.0)
        (1.0, 2.0)
        >>> percentile_range(np.array([0, 7, 7]), 0.0, 50.0)
        (0.0, 7.0)
    """
    chosen = values[np.isfinite(values) & (values != 0)]
    if chosen.size:  # a copy, which may be sorted: a volume is held once more, not three times
        start, stop = (float(value) for value in np.percentile(chosen, [low, high], overwrite_input=True))
        if start < stop:
            return start, stop
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def padding_mask(values: np.ndarray, value: float, limit: float | None = None) -> np.ndarray:
    """Return where stored values are padding: equal to ``value``, or between it and ``limit``, both included.

    PS3.3 C.7.5.1.1.2; the limit may lie on either side of the value.
    """
    if limit is None:
        return values == value
    return (values >= min(value, limit)) & (values <= max(value, limit))


def bytes_of(data: bytes, order: str) -> np.ndarray:
    r"""Return bytes that stand two in each 16-bit word, the first in its low half, as OW holds them (PS3.5 8.1.1).

    Example:
        >>> bytes_of(b"\1\2\3\4", "<").tolist(), bytes_of(b"\2\1\4\3", ">").tolist()
        ([1, 2, 3, 4], [1, 2, 3, 4])
    """
    words = np.frombuffer(data + b"\0" * (len(data) % 2), order + "u2")
    return words.astype("<u2").view(np.uint8)


def lookup_table(descriptor: tuple[int, ...], data: bytes, order: str, *, name: str) -> LookupTable:
    """Build the table of a sequence called `name`, or refuse it as ``bad_lut``.

    Args:
        descriptor: number of entries (0 is 65536), first mapped value, bits of an entry.
        data: entries of 16 bits, or of 8 bits where their number says so.
        order: ``"<"`` or ``">"``.
        name: for messages.
    """
    if len(descriptor) != 3:
        raise UnreadableImage("bad_lut", detail=f"LUTDescriptor of {name} has {len(descriptor)} values, not 3")
    count, first, bits = descriptor[0] & 0xFFFF or 65536, descriptor[1], descriptor[2]
    if not 1 <= bits <= 16:
        raise UnreadableImage("bad_lut", detail=f"LUTDescriptor of {name} says {bits} bits an entry")
    if len(data) in (2 * count, 2 * count + 1):
        entries = np.frombuffer(data[: 2 * count], order + "u2")
    elif bits <= 8 and len(data) in (count, count + 1):
        entries = bytes_of(data, order)[:count]
    else:
        raise UnreadableImage("bad_lut", detail=f"LUTData of {name} has {len(data)} bytes for {count} entries")
    if int(entries.max()) >= 1 << bits:
        raise UnreadableImage("bad_lut", detail=f"LUTData of {name} holds {int(entries.max())}, beyond {bits} bits")
    return LookupTable(entries=entries, first=first, bits=bits)

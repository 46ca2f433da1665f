"""Colour of any kind to RGB in [0, 1], and RGB to gray."""

from __future__ import annotations

import numpy as np

from medvlp.io.dicom_header import Header
from medvlp.io.errors import UnreadableImage
from medvlp.io.image import Account
from medvlp.io.lut import bytes_of

MADE_GRAY = "the image is coloured: it was made gray by its luma"
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, the weights of DICOM's own YBR_FULL
_COLOURS = ("Red", "Green", "Blue")


def as_color(pixels: np.ndarray, color: str, account: Account) -> np.ndarray:
    """Return ``(H, W, 3)`` for "rgb", else ``(H, W)``: `to_gray`, with a step and a warning where colour is lost."""
    if color == "rgb":
        return np.ascontiguousarray(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1))
    if pixels.ndim == 2:
        return pixels
    gray = is_gray(pixels)
    account.steps.append("gray: the common value of R, G and B" if gray else "gray: ITU-R BT.601 luma")
    account.notes.extend(() if gray else (MADE_GRAY,))
    return to_gray(pixels)


def to_gray(rgb: np.ndarray) -> np.ndarray:
    """Return luma ``0.299 R + 0.587 G + 0.114 B``; exactly the channel where all three are equal.

    Args:
        rgb: float32 ``(H, W, 3)``.

    Returns:
        float32 ``(H, W)``.

    Example:
        >>> to_gray(np.array([[[1, 0, 0], [0.5, 0.5, 0.5]]], np.float32)).round(3).tolist()
        [[0.29899999499320984, 0.5]]
    """
    if is_gray(rgb):
        return np.ascontiguousarray(rgb[..., 0])
    return (rgb @ _LUMA).astype(np.float32)


def is_gray(rgb: np.ndarray) -> bool:
    """Whether the three channels are equal everywhere."""
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all())


def ybr_full_to_rgb(ybr: np.ndarray) -> np.ndarray:
    """Invert PS3.3 C.7.6.3.1.2's YBR_FULL: ``(H, W, 3)`` of Y, C_B, C_R in [0, 1] to RGB, float64 in [0, 1].

    With chrominance b = C_B - 128/255 and r = C_R - 128/255 of values scaled to [0, 1]::

        R = Y + 1.402 r;   G = Y - 0.344136 b - 0.714136 r;   B = Y + 1.772 b
    """
    y, b, r = (ybr[..., 0], ybr[..., 1] - 128 / 255, ybr[..., 2] - 128 / 255)
    rgb = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], axis=-1)
    return np.clip(rgb, 0.0, 1.0)


def palette_table(header: Header) -> tuple[np.ndarray, int]:
    """Return the palette as float32 ``(N, 3)`` in [0, 1] and the stored value of its first row (PS3.3 C.7.6.3.1.5)."""
    columns, firsts, signed = [], set(), header.integer("PixelRepresentation", 0) == 1
    for colour in _COLOURS:
        keyword = f"{colour}PaletteColorLookupTableDescriptor"
        descriptor = [int(value) for value in header.valid_numbers(keyword)]
        if len(descriptor) != 3:
            raise UnreadableImage("bad_lut", detail=f"{keyword} is missing or has not 3 values")
        count, first, bits = descriptor[0] & 0xFFFF or 65536, descriptor[1], descriptor[2]
        first -= 65536 if signed and first > 32767 else 0  # a pixel's value, whatever VR it was written with
        if bits not in (8, 16):
            raise UnreadableImage("bad_lut", detail=f"{keyword} says {bits} bits an entry, not 8 or 16")
        columns.append(_entries(header, colour, count, bits) / ((1 << bits) - 1))
        firsts.add(first)
        if len(columns[-1]) != len(columns[0]):
            raise UnreadableImage("bad_lut", detail="the palette's colours have tables of different lengths")
    if len(firsts) != 1:
        raise UnreadableImage("bad_lut", detail="the palette's colours start at different values")
    return np.stack(columns, axis=-1).astype(np.float32), firsts.pop()


def _entries(header: Header, colour: str, count: int, bits: int) -> np.ndarray:
    plain = header.raw(f"{colour}PaletteColorLookupTableData")
    segmented = header.raw(f"Segmented{colour}PaletteColorLookupTableData")
    if plain:
        if bits == 8 and len(plain) in (count, count + 1):
            return bytes_of(plain, header.order)[:count]
        if len(plain) < 2 * count:
            raise UnreadableImage("bad_lut", detail=f"the {colour} palette has {len(plain)} bytes for {count} entries")
        words = np.frombuffer(plain[: 2 * count], header.order + "u2")
        # Some writers put 8 bits in words, in the high byte or in both.
        return words >> 8 if bits == 8 and int(words.max()) > 255 else words
    if not segmented:
        raise UnreadableImage("bad_lut", detail=f"the {colour} palette has no data")
    whole = segmented[: len(segmented) // 2 * 2]
    words = bytes_of(segmented, header.order) if bits == 8 else np.frombuffer(whole, f"{header.order}u2")
    entries = expand_segments(tuple(words.tolist()))
    if len(entries) != count:
        detail = f"the segmented {colour} palette gives {len(entries)} of {count} entries"
        raise UnreadableImage("bad_lut", detail=detail)
    return np.asarray(entries, np.int64)


def expand_segments(words: tuple[int, ...]) -> list[int]:
    """Expand the discrete (0) and linear (1) segments of a segmented palette (PS3.3 C.7.9.2).

    ``bad_lut``: a table that is cut off or has indirect segments (2), which are not supported.

    Example:
        >>> expand_segments((0, 1, 10, 1, 4, 50))
        [10, 20, 30, 40, 50]
    """
    entries: list[int] = []
    position = 0
    while position + 2 < len(words):
        opcode, length = words[position], words[position + 1]
        if len(entries) + length > 65536:
            raise UnreadableImage("bad_lut", detail="a segmented palette has more than 65536 entries")
        if opcode == 0:
            segment = words[position + 2 : position + 2 + length]
            if len(segment) < length:
                raise UnreadableImage("bad_lut", detail="a segmented palette is cut off")
            entries.extend(segment)
            position += 2 + length
        elif opcode == 1 and entries and length:
            start, stop = entries[-1], words[position + 2]
            entries.extend(round(start + (stop - start) * step / length) for step in range(1, length + 1))
            position += 3
        else:
            detail = f"a segmented palette has a segment of kind {opcode} that is not supported"
            raise UnreadableImage("bad_lut", detail=detail)
    return entries

"""What a PNG, JPEG or TIFF file says of its size, read from its own markers before any library decodes it."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from medvlp.io.codecs import probe_codestream
from medvlp.io.errors import UnreadableImage

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples a pixel, PNG 11.2.1
_MAX_PAGES = 10_000
_WIDTH, _LENGTH, _BITS, _SAMPLES = 256, 257, 258, 277  # TIFF 6.0 section 8
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # TIFF field type -> struct's code


@dataclass(frozen=True)
class RasterHeader:
    """Size of one picture: `samples` are channels as stored, `bits` those of a channel, `page` is one of `pages`."""

    rows: int
    columns: int
    samples: int
    bits: int
    pages: int = 1
    page: int = 0


def probe_raster(stream: BinaryIO, kind: str, page: int) -> RasterHeader:
    r"""Read the size of a picture, and leave the stream at its start.

    Args:
        stream: the file, at its start.
        kind: "png", "jpeg" or "tiff".
        page: of a TIFF, from 0.

    Raises:
        UnreadableImage: ``corrupt``, ``truncated``, ``no_decoder`` or ``bad_frame``.

    Example:
        >>> import io
        >>> head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 3, 2, 16, 0, 0, 0, 0, 0)
        >>> header = probe_raster(io.BytesIO(head), "png", 0)
        >>> header.rows, header.columns, header.bits
        (2, 3, 16)
    """
    if kind != "tiff" and page:
        raise UnreadableImage("bad_frame", detail=f"frame {page} was asked for, it has frames 0 to 0")
    header = {"png": _png, "jpeg": _jpeg, "tiff": _tiff}[kind](stream, page)
    stream.seek(0)
    if header.rows < 1 or header.columns < 1:
        raise UnreadableImage("corrupt", detail=f"its size is {header.rows} x {header.columns} pixels")
    return header


def _png(stream: BinaryIO, page: int) -> RasterHeader:
    head = stream.read(26)
    if len(head) < 26 or head[12:16] != b"IHDR":
        raise UnreadableImage("corrupt", detail="its PNG header cannot be read")
    columns, rows, bits, colour = struct.unpack(">IIBB", head[16:26])
    if colour not in _PNG_CHANNELS or bits not in (1, 2, 4, 8, 16):
        raise UnreadableImage("corrupt", detail="its PNG header names an unknown kind of pixel")
    return RasterHeader(rows, columns, _PNG_CHANNELS[colour], bits)


def _jpeg(stream: BinaryIO, page: int) -> RasterHeader:
    found = probe_codestream(stream.read())
    return RasterHeader(found.rows, found.columns, found.samples, found.precision)


def _tiff(stream: BinaryIO, page: int) -> RasterHeader:
    """Follow the chain of image file directories, TIFF 6.0 section 2; BigTIFF has wider numbers."""
    head = stream.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    word = "Q" if big else "I"
    if len(head) < 16:
        raise UnreadableImage("truncated", detail="its TIFF header is cut off")
    (offset,) = struct.unpack_from(order + word, head, 8 if big else 4)
    seen: set[int] = set()
    found: dict[int, int] | None = None
    while offset:
        if offset in seen or len(seen) >= _MAX_PAGES:
            raise UnreadableImage("corrupt", detail=f"its TIFF pages run in a circle, or are more than {_MAX_PAGES}")
        tags, following = _directory(stream, offset, order, big)
        if len(seen) == page:
            found = tags
        seen.add(offset)
        offset = following
    if found is None:
        raise UnreadableImage("bad_frame", detail=f"frame {page} was asked for, it has frames 0 to {len(seen) - 1}")
    if _WIDTH not in found or _LENGTH not in found:
        raise UnreadableImage("corrupt", detail="its TIFF header has no size")
    return RasterHeader(
        found[_LENGTH], found[_WIDTH], found.get(_SAMPLES, 1), found.get(_BITS, 1), pages=len(seen), page=page
    )


def _directory(stream: BinaryIO, offset: int, order: str, big: bool) -> tuple[dict[int, int], int]:
    """Return the sizes that one directory gives, and where the next one is."""
    entry, count_code, word = (20, "Q", "Q") if big else (12, "H", "I")
    size = stream.seek(0, os.SEEK_END)
    try:
        stream.seek(min(offset, size))
        (count,) = struct.unpack(order + count_code, stream.read(struct.calcsize("=" + count_code)))
        table = stream.read(min(count * entry, size))
        (following,) = struct.unpack(order + word, stream.read(struct.calcsize("=" + word)))
    except struct.error:
        raise UnreadableImage("truncated", detail="a directory of its TIFF pages is cut off") from None
    tags: dict[int, int] = {}
    for start in range(0, len(table) - entry + 1, entry):
        tag, kind = struct.unpack_from(order + "HH", table, start)
        if tag in (_WIDTH, _LENGTH, _BITS, _SAMPLES) and kind in _INTEGERS:
            tags[tag] = _first_value(stream, table, start, order + _INTEGERS[kind], big)
    return tags, following


def _first_value(stream: BinaryIO, table: bytes, start: int, code: str, big: bool) -> int:
    """The value lies in the entry where it fits, else where the entry points to."""
    word, room = ("Q", 8) if big else ("I", 4)
    (count,) = struct.unpack_from(code[0] + word, table, start + 4)
    place, size = start + 4 + room, struct.calcsize("=" + code[1:])
    if count * size <= room:
        return int(struct.unpack_from(code, table, place)[0])
    stream.seek(struct.unpack_from(code[0] + word, table, place)[0])
    data = stream.read(size)
    if len(data) < size:
        raise UnreadableImage("truncated", detail="a value of its TIFF header is cut off")
    return int(struct.unpack(code, data)[0])

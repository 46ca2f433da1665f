"""PNG, JPEG and TIFF of 8 to 16 bits to a display-ready image; the helper decodes them (``medvlp.io.sandbox``).

What a file says of its size is read from its own markers before any library decodes it.
"""

from __future__ import annotations

import functools
import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np

from medvlp.io.codecs import probe_codestream
from medvlp.io.color import as_color
from medvlp.io.dicom_layout import MAX_PIXELS
from medvlp.io.errors import UnreadableImage
from medvlp.io.geometry import Hanging
from medvlp.io.image import Account, Image
from medvlp.io.lut import looked_up
from medvlp.io.sandbox.client import decode

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples a pixel, PNG 11.2.1
_MAX_PAGES, _MAX_FIELDS = 10_000, 1024  # real pages have dozens of fields, which pages may share
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
    r"""Read the size of a "png", "jpeg" or "tiff" (page from 0), and leave the stream at its start.

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
        if count > _MAX_FIELDS:
            raise UnreadableImage("corrupt", detail=f"a directory of its TIFF pages claims {count} fields")
        table = stream.read(count * entry)
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


#: EXIF Orientation -> what makes the picture upright (EXIF 2.32, 4.6.4 A)
_UPRIGHT = {
    2: Hanging(flip_columns=True), 3: Hanging(flip_columns=True, flip_rows=True), 4: Hanging(flip_rows=True),
    5: Hanging(transpose=True), 6: Hanging(transpose=True, flip_columns=True),
    7: Hanging(transpose=True, flip_columns=True, flip_rows=True), 8: Hanging(transpose=True, flip_rows=True),
}  # fmt: skip
_BARELY_USED = 1 / 8  # a 16-bit file that stays below this share of its range probably holds 12 bits or fewer
_MAX_BYTES = 512 << 20
"""Largest file that is handed to the helper, and largest picture that is taken back: 89 megapixels of 48 bits."""
_DTYPES = {"1": "|u1", "I": "<i4", "I;16": "<u2", "I;16B": "<u2", "I;16L": "<u2", "I;16N": "<u2"}


def read_raster(stream: BinaryIO, kind: str, *, frame: int | None, color: Literal["gray", "rgb"]) -> Image:
    """Read one picture; values are divided by the largest value of their bit depth, never stretched.

    `kind` is "png", "jpeg" or "tiff"; `frame` a page of a TIFF, from 0; None the first, with a warning if it has more.
    """
    account = Account()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size > _MAX_BYTES:
        raise UnreadableImage("too_large", detail=f"it has {size} bytes, more than {_MAX_BYTES}")
    header = probe_raster(stream, kind, frame or 0)
    if header.rows * header.columns > MAX_PIXELS:
        raise UnreadableImage("too_large", detail=f"{header.rows} x {header.columns} pixels are more than {MAX_PIXELS}")
    if _bytes_of(header) > _MAX_BYTES:
        raise UnreadableImage("too_large", detail=f"its pixels take {_bytes_of(header)} bytes, more than {_MAX_BYTES}")
    if header.pages > 1:
        account.steps.append(f"frame {header.page} of {header.pages}")
        if frame is None:
            account.notes.append(f"the file has {header.pages} pages: the first was taken (frame= chooses another)")
    deep = kind == "png" and header.bits == 16 and header.samples > 1
    values, facts = _decode(stream, kind, header, deep)
    if deep:
        pixels = _deep(values, account)
    elif values.dtype.itemsize > 1:
        pixels = _deep_gray(values, facts, account)
    else:
        pixels = _eight_bits(values, facts["mode"], account)
        if header.bits > 8:  # Pillow has no colour of more
            account.notes.append(f"{header.bits} bits a channel were cut to 8")
    to_file = None
    if facts["orientation"] in _UPRIGHT:
        account.steps.append(f"EXIF Orientation {facts['orientation']} applied")
        hanging = _UPRIGHT[facts["orientation"]]
        pixels = hanging.apply(pixels)
        to_file = hanging.to_stored(*pixels.shape[:2])
    rows, columns = pixels.shape[:2]
    meta = {"Format": kind.upper(), "Mode": facts["mode"], "Rows": int(rows), "Columns": int(columns)}
    pixels = as_color(pixels, color, account)
    return Image(pixels=pixels, meta=meta, steps=tuple(account.steps), warnings=tuple(account.notes), to_file=to_file)


def _bytes_of(header: RasterHeader) -> int:
    """Most bytes that the decoded values can have: a palette becomes RGBA, 12 bits and signed 16 bits become 32."""
    width = 1 if header.bits <= 8 else 2 if header.bits == 16 and header.samples > 1 else 4
    return header.rows * header.columns * max(width, 4 if width == 1 else header.samples * width)


def _decode(stream: BinaryIO, kind: str, header: RasterHeader, deep: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """Let the helper decode, and check that its facts are ones."""
    flat = (header.rows, header.columns)
    decoded = decode(
        "raster", stream, {"kind": kind, "page": header.page, "deep": deep},
        shapes=[flat, *((*flat, channels) for channels in (1, 2, 3, 4))], dtypes=["|u1", "<u2", "<i4"],
        size=_bytes_of(header),
    )  # fmt: skip
    facts = decoded.facts
    mode = facts.get("mode")
    integers = (facts.get("bits"), facts.get("orientation"))
    sound = isinstance(mode, str) and len(mode) <= 8 and mode.isascii() and all(isinstance(n, int) for n in integers)
    expected = "<u2" if deep else _DTYPES.get(str(mode), "|u1")
    if not sound or decoded.pixels.dtype.str != expected:
        raise UnreadableImage("decoder_died", detail="the decoder's answer made no sense")
    return decoded.pixels, facts


def _deep_gray(values: np.ndarray, facts: dict[str, Any], account: Account) -> np.ndarray:
    """Return float32 of a gray picture of more than 8 bits."""
    bits = facts["bits"]
    if not 1 <= bits <= 16:
        raise UnreadableImage("unsupported_format", detail=f"it has {bits} bits a pixel: what is white is not defined")
    top = (1 << bits) - 1
    if values.min() < 0 or values.max() > top:
        raise UnreadableImage("unsupported_format", detail="its values are signed or beyond its bit depth")
    account.steps.append(f"values / {top} ({bits} bits)")
    if bits == 16 and 0 < values.max() < top * _BARELY_USED:
        account.notes.append(
            f"the largest value is {int(values.max())} of {top}: it is dark, or has fewer bits than it says"
        )
    scaled = looked_up(_share_of(top), values)
    if facts["white_is_zero"] is True:  # Pillow inverts 8-bit TIFFs of this kind, but not these
        account.steps.append("inverted by PhotometricInterpretation WhiteIsZero")
        scaled = 1 - scaled
    return scaled


def _eight_bits(values: np.ndarray, mode: str, account: Account) -> np.ndarray:
    """Return float32 ``(H, W)`` or ``(H, W, 3)`` in [0, 1]."""
    if mode == "1":
        account.steps.append("values of 1 bit")
        return (values > 0).astype(np.float32)
    if mode not in ("L", "RGB", "LA", "La", "PA", "RGBA", "RGBa"):
        account.steps.append("colour: palette" if mode == "P" else f"colour: {mode} to RGB")
    shares = _share_of(255)
    if values.ndim == 2 or values.shape[2] == 3:
        account.steps.append("values / 255 (8 bits)")
        return looked_up(shares, values)
    if values.shape[2] != 4:
        raise UnreadableImage("decoder_died", detail="the decoder's answer made no sense")
    account.steps.append("values / 255 (8 bits), alpha over black")
    return _over_black(looked_up(shares, values[..., :3]), looked_up(shares, values[..., 3:]), account)


def _deep(values: np.ndarray, account: Account) -> np.ndarray:
    if values.ndim != 3 or values.shape[2] not in (2, 3, 4):
        raise UnreadableImage("decoder_died", detail="the decoder's answer made no sense")
    account.steps.append("values / 65535 (16 bits)")
    scaled = looked_up(_share_of(65535), values)
    if scaled.shape[2] in (2, 4):
        account.steps.append("alpha over black")
        scaled = _over_black(scaled[..., :-1], scaled[..., -1:], account)
    return scaled[..., 0] if scaled.shape[2] == 1 else scaled


def _over_black(colours: np.ndarray, alpha: np.ndarray, account: Account) -> np.ndarray:
    if alpha.min() < 1:
        account.notes.append("transparent pixels were laid over black")
    return colours * alpha


@functools.cache
def _share_of(top: int) -> np.ndarray:
    """A table of all values over the largest: a look-up a pixel is quicker than a division, and needs no float64."""
    return (np.arange(top + 1, dtype=np.float64) / top).astype(np.float32)

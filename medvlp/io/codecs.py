"""Compressed frames to stored values, chosen by the code stream's own markers and checked against the header first.

The markers are read in the reading process; what decodes runs in its helper (``medvlp.io.sandbox``).
Decoders are permissively licensed: OpenJPEG (JPEG 2000, HTJ2K), CharLS (JPEG-LS), libjpeg-turbo (JPEG, lossless JPEG),
imagecodecs' PackBits (RLE). PNG, JPEG and TIFF files, decoded by Pillow, are no safer: libtiff, libjpeg and libpng are
C, and their files come from the same hands. `decoder_states` tries each coding on 8 x 8 pixels.
"""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medvlp.io.errors import UnreadableImage

_SOF_NAMES = {0xC0: "jpeg", 0xC1: "jpeg", 0xC2: "jpeg", 0xC3: "jpeg_lossless", 0xF7: "jpeg_ls"}
_PACKAGES = {"openjpeg": "pylibjpeg-openjpeg", "jpeg_ls": "pyjpegls"}  # whose names are not those of their modules
_MAX_TILES = 65535
_MAX_MARKERS = 4096  # before the start of frame, fill bytes counted: real files have dozens


@dataclass(frozen=True)
class Codestream:
    """What a compressed frame says of itself.

    `codec` is "jpeg", "jpeg_lossless", "jpeg_ls" or "jpeg_2000", `samples` are components of `precision` bits. `rgb` is
    what the stream says of its colours: True RGB, False luminance and chrominance, None nothing. It begins at byte
    `start`: behind the boxes of a JP2 file, else 0.
    """

    codec: str
    rows: int
    columns: int
    samples: int
    precision: int
    rgb: bool | None = None
    start: int = 0


def probe_codestream(data: bytes) -> Codestream:
    """Read the size markers of a JPEG, JPEG-LS or JPEG 2000 stream, or refuse it (``corrupt``, ``no_decoder``)."""
    if data[:4] == b"\xff\x4f\xff\x51":
        return _probe_j2k(data, 0)
    if data[4:8] == b"jP  ":
        start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
        if start >= 0:
            return _probe_j2k(data, start)
    if data[:2] == b"\xff\xd8":
        return _probe_jpeg(data)
    raise UnreadableImage("corrupt", detail="its compressed pixels start with no known code stream")


def _probe_j2k(data: bytes, start: int) -> Codestream:
    """SIZ marker segment, ISO/IEC 15444-1 A.5.1."""
    if len(data) < start + 43:
        raise UnreadableImage("truncated", detail="its JPEG 2000 stream ends inside its header")
    x1, y1, x0, y0, tile_x, tile_y, tx0, ty0, count = struct.unpack(">8IH", data[start + 8 : start + 42])
    if x1 <= x0 or y1 <= y0 or not tile_x or not tile_y or tx0 > x0 or ty0 > y0:
        raise UnreadableImage("corrupt", detail="its JPEG 2000 stream has impossible sizes")
    if -(-(x1 - tx0) // tile_x) * -(-(y1 - ty0) // tile_y) > _MAX_TILES:
        raise UnreadableImage("corrupt", detail="its JPEG 2000 stream has too many tiles")
    parts = data[start + 42 : start + 42 + 3 * count]
    if count == 0 or len(parts) < 3 * count:
        raise UnreadableImage("corrupt", detail="its JPEG 2000 stream has no components")
    depths = {(byte & 0x7F) + 1 for byte in parts[::3]}
    if len(depths) > 1 or any(step != 1 for step in parts[1::3] + parts[2::3]):
        raise UnreadableImage("no_decoder", detail="its JPEG 2000 components differ in depth or size")
    return Codestream("jpeg_2000", rows=y1 - y0, columns=x1 - x0, samples=count, precision=depths.pop(), start=start)


def _probe_jpeg(data: bytes) -> Codestream:
    """Walk the marker segments up to the start of frame, ITU-T T.81 B.2."""
    position, rgb = 2, None
    for _ in range(_MAX_MARKERS):
        if position + 4 > len(data) or data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            position += 2
            continue
        size = struct.unpack(">H", data[position + 2 : position + 4])[0]
        body = data[position + 4 : position + 2 + size]
        if marker == 0xE0 and body[:4] == b"JFIF":
            rgb = False
        elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            rgb = body[11] == 0
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            if marker not in _SOF_NAMES:
                raise UnreadableImage("no_decoder", detail=f"JPEG process SOF{marker - 0xC0} is not supported")
            if len(body) < 6:
                break
            precision, rows, columns, samples = struct.unpack(">BHHB", body[:6])
            if rgb is None and body[6::3][:3] == b"RGB":  # component identifiers
                rgb = True
            return Codestream(_SOF_NAMES[marker], rows, columns, samples, precision, rgb)
        elif marker in (0xD9, 0xDA):
            break
        position += 2 + size
    raise UnreadableImage("corrupt", detail="its JPEG stream has no start of frame")


def decode_jpeg_family(data: bytes, stream: Codestream, *, to_rgb: bool) -> np.ndarray:
    """Decode one frame to integers ``(rows, columns[, samples])``; refused as ``no_decoder`` or ``corrupt``.

    `stream` is what ``probe_codestream`` said of it, checked by the caller; `to_rgb` converts a lossy JPEG's colours.
    """
    try:
        if stream.codec == "jpeg_2000":
            import openjpeg

            # The very stream whose sizes were read: a JP2 file can hold another one behind it.
            array = openjpeg.decode(data[stream.start :], 0)
        elif stream.codec == "jpeg_ls":
            array = _decode_jpeg_ls(data, stream)
        else:
            array = _decode_jpeg(data, stream, to_rgb)
    except ImportError as error:
        hint = f"pip install {_PACKAGES.get(str(error.name), error.name)}"
        raise UnreadableImage("no_decoder", detail=f"no decoder for {stream.codec} is installed", hint=hint) from None
    except UnreadableImage:
        raise
    except Exception as error:
        detail = f"its {stream.codec} pixels cannot be decoded ({type(error).__name__})"
        raise UnreadableImage("corrupt", detail=detail) from None
    shape = (stream.rows, stream.columns) + ((stream.samples,) if stream.samples > 1 else ())
    if array.size != stream.rows * stream.columns * stream.samples:
        raise UnreadableImage("corrupt", detail=f"its {stream.codec} pixels decode to another size")
    return np.asarray(array).reshape(shape)


def _decode_jpeg_ls(data: bytes, stream: Codestream) -> np.ndarray:
    import jpeg_ls

    buffer, info = jpeg_ls.decode_pixel_data(data)
    array = np.frombuffer(buffer, np.uint8 if stream.precision <= 8 else np.uint16)
    if stream.samples > 1 and info["interleave_mode"] == 0:  # planes one after another
        return array.reshape(stream.samples, stream.rows, stream.columns).transpose(1, 2, 0)
    return array


def _decode_jpeg(data: bytes, stream: Codestream, to_rgb: bool) -> np.ndarray:
    import imagecodecs

    if stream.samples == 1:
        return imagecodecs.jpeg8_decode(data)  # libjpeg-turbo 3: lossy of 8 and 12 bits, lossless of 2 to 16
    return imagecodecs.jpeg8_decode(data, colorspace="YCBCR" if to_rgb else "RGB", outcolorspace="RGB")


def decode_rle(data: bytes, *, rows: int, columns: int, samples: int, bits_allocated: int) -> np.ndarray:
    """Decode one RLE Lossless frame (PS3.5 annex G) to unsigned integers ``(rows, columns[, samples])``.

    Each byte of each sample is one PackBits segment, most significant first.
    """
    import imagecodecs

    if len(data) < 64:
        raise UnreadableImage("truncated", detail="its RLE header is cut off")
    count, *offsets = struct.unpack("<16I", data[:64])
    width = bits_allocated // 8
    if width < 1 or count != samples * width:
        raise UnreadableImage("corrupt", detail=f"it has {count} RLE segments where {samples * width} are needed")
    starts = [*offsets[:count], len(data)]
    if starts[0] < 64 or any(a > b for a, b in itertools.pairwise(starts)):
        raise UnreadableImage("corrupt", detail="its RLE segments overlap")
    planes = np.empty((samples, rows * columns, width), np.uint8)
    for index in range(count):
        segment = data[starts[index] : starts[index + 1]]
        if 128 * len(segment) < rows * columns:  # two bytes give at most 128: refuse before allocating
            raise UnreadableImage("truncated", detail="an RLE segment is too short for its rows and columns")
        try:
            # The room given is what rows and columns need: a segment that holds more belongs to another size.
            plane = np.frombuffer(imagecodecs.packbits_decode(segment, out=rows * columns), np.uint8)
        except Exception:
            raise UnreadableImage("corrupt", detail="an RLE segment does not decode to its rows and columns") from None
        if plane.size < rows * columns:
            raise UnreadableImage("truncated", detail="an RLE segment ends before its last pixel")
        planes[index // width, :, width - 1 - index % width] = plane[: rows * columns]
    values = planes.view(f"<u{width}").reshape(samples, rows, columns)
    return values[0] if samples == 1 else values.transpose(1, 2, 0)


_FORMATS = {"png": "PNG", "jpeg": "JPEG", "tiff": "TIFF"}
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262


def decode_raster(stream: BinaryIO, *, kind: str, page: int, deep: bool) -> tuple[np.ndarray, dict[str, object]]:
    """Decode one picture, whose size was checked by the caller; `deep` is a PNG that Pillow would cut to 8 bits.

    Returns:
        values ``(H, W)`` or ``(H, W, channels)`` of 8 or 16 bits (32 for Pillow's mode "I"), and the facts ``mode`` (as
        the file has it), ``bits``, ``orientation`` (EXIF) and ``white_is_zero`` (of TIFFs that are not yet inverted).
    """
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    Pillow.MAX_IMAGE_PIXELS = None  # the reader has compared the size with its own limit
    try:
        picture = Pillow.open(stream, formats=(_FORMATS[kind],))
        if page:
            picture.seek(page)
        tags = picture.tag_v2 if kind == "tiff" and hasattr(picture, "tag_v2") else {}  # pyrefly: ignore
        facts: dict[str, object] = {
            "mode": picture.mode,
            "bits": int(np.max(tags.get(_BITS, 16))),
            "orientation": int(picture.getexif().pop(_ORIENTATION, 1)),  # else Pillow turns a TIFF that it loads
            "white_is_zero": tags.get(_PHOTOMETRIC) == 0,
        }
        if not deep:
            return _values(picture.copy() if kind == "tiff" else picture), facts  # a copy has the size that is stored
        import imagecodecs

        stream.seek(0)
        return imagecodecs.png_decode(stream.read()), facts
    except (UnreadableImage, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("corrupt", detail=f"its {_FORMATS[kind]} header cannot be read") from None
    except Exception as error:
        reason = "truncated" if "truncated" in str(error) or isinstance(error, EOFError) else "corrupt"
        raise UnreadableImage(reason, detail=f"its {_FORMATS[kind]} data cannot be decoded") from None


def _values(picture) -> np.ndarray:  # noqa: ANN001 (Pillow is loaded when it is needed)
    mode = picture.mode
    if mode == "F":
        raise UnreadableImage("unsupported_format", detail="it has floating point pixels: what is white is not defined")
    if mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        values = np.asarray(picture)
        return values.astype(np.int32 if mode == "I" else np.uint16, copy=False)
    if mode == "1":
        return np.asarray(picture).view(np.uint8)
    if mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif mode in ("LA", "La", "PA", "RGBa"):
        picture = picture.convert("RGBA")
    elif mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    return np.asarray(picture)


_STREAMS = Path(__file__).with_name("decoder_streams.json")  # coding -> base64 of the ramp below
_RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)  # the lossy one comes back within a level of 8
_LEVEL = 8


def decoder_states() -> dict[str, str]:
    """Return for each coding of pixels why it cannot be read here; empty where it is read rightly.

    Example:
        >>> decoder_states()["JPEG, lossless"]
        ''
    """
    streams: dict[str, str] = json.loads(_STREAMS.read_text())
    asked: dict[str, Callable[[], np.ndarray]] = {name: _of(text) for name, text in streams.items()}
    # A header that says where the one segment begins, and a run of 64 plain bytes.
    run = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x3f" + _RAMP.tobytes()
    asked["RLE"] = lambda: decode_rle(run, rows=8, columns=8, samples=1, bits_allocated=8)
    return {name: _state(decode, exact=name != "JPEG") for name, decode in asked.items()}


def _of(text: str) -> Callable[[], np.ndarray]:
    data = base64.b64decode(text)
    return lambda: decode_jpeg_family(data, probe_codestream(data), to_rgb=False)


def _state(decode: Callable[[], np.ndarray], *, exact: bool) -> str:
    try:
        found = decode()
    except ImportError as error:
        return f"no decoder is installed: pip install {error.name}"
    except UnreadableImage as error:
        return f"{error.detail}; {error.hint}"
    off = int(np.abs(found.astype(np.int64) - _RAMP).max()) if found.shape == _RAMP.shape else 256
    return "" if off < (1 if exact else _LEVEL) else "its decoder gives other pixels than were coded: install it again"

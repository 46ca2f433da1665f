"""One frame of a DICOM file as stored values: cut out of the file, decoded, freed of unused bits, sign extended."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from pydicom.encaps import get_frame

from medvlp.io.codecs import Codestream, probe_codestream
from medvlp.io.dicom_file import Parsed
from medvlp.io.dicom_layout import Layout
from medvlp.io.errors import UnreadableImage
from medvlp.io.sandbox.client import decode

_NATIVE = ("", *(f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2")))
_RLE = "1.2.840.10008.1.2.5"
_CODEC_OF_SYNTAX = {
    "50": "jpeg", "51": "jpeg", "57": "jpeg_lossless", "70": "jpeg_lossless", "80": "jpeg_ls", "81": "jpeg_ls",
    "90": "jpeg_2000", "91": "jpeg_2000", "92": "jpeg_2000", "93": "jpeg_2000",
    "201": "jpeg_2000", "202": "jpeg_2000", "203": "jpeg_2000",
}  # fmt: skip
_JPEG_ROOT = "1.2.840.10008.1.2.4."
_FREE_BYTES = 32 << 20  # of pixels, whatever the ratio: an empty mask of 4000 x 4000 pixels is a good file
_MAX_RATIO = 1000  # beyond them; a radiograph is compressed 2 to 40 times, with black around it 100 times


@dataclass(frozen=True)
class Stored:
    """Stored values of one frame.

    Attributes:
        values: integers or floats ``(rows, columns)`` or ``(rows, columns, 3)``.
        container: the values before unused bits were removed; None where there were none.
        photometric: colour space of ``values``.
        step: what was decoded, and how.
    """

    values: np.ndarray
    container: np.ndarray | None
    photometric: str
    step: str


def read_frame(parsed: Parsed, layout: Layout, frame: int, notes: list[str]) -> Stored:
    """Read one frame, from 0, below ``layout.frames``; `notes` gets the warnings."""
    if parsed.length is None:
        return _encapsulated(parsed, layout, frame, notes)
    if parsed.syntax not in _NATIVE:
        raise UnreadableImage(
            "bad_header", detail=f"Transfer Syntax UID {parsed.syntax} does not fit pixel data of defined length"
        )
    values = _native(parsed, layout, frame, notes)
    if layout.kind != "int":
        return Stored(values.astype(np.float64), None, layout.photometric, f"stored values: {layout.kind} pixel data")
    return _finish(values, layout, layout.bits_stored, layout.photometric, "uncompressed")


def native_length(parsed: Parsed, layout: Layout, notes: list[str]) -> int:
    """Return the bytes of all uncompressed frames, compared with the length of their element; `notes` as `read_frame`.

    A wrong number of rows or columns leaves at least a row or a column over: less, or only zeros, is padding.
    """
    bits, length = layout.bits_allocated, parsed.length or 0
    expected = (layout.frame_pixels * layout.frames * layout.samples * bits + 7) // 8
    if layout.photometric == "YBR_FULL_422" and length in _padded(expected):
        notes.append(
            "PhotometricInterpretation is YBR_FULL_422 but the chrominance is not subsampled: read as YBR_FULL"
        )
    elif layout.photometric == "YBR_FULL_422":
        expected = expected // 3 * 2
    size = f"{layout.rows} x {layout.columns} x {layout.samples}"
    needs = f"{layout.frames} frames of {size} at {bits} bits need {expected} bytes of pixel data"
    if parsed.available < min(length, expected):
        raise UnreadableImage("truncated", detail=f"its pixel data ends after {parsed.available} of {length} bytes")
    if length < expected:
        raise UnreadableImage("truncated", detail=f"{needs}, it has {length}")
    rest = length - expected
    parsed.stream.seek(parsed.offset + expected)
    padding = rest < max(2, min(layout.rows, layout.columns) * bits // 8)
    if not padding and (bits == 1 or rest > 1 << 16 or any(parsed.stream.read(rest))):
        raise UnreadableImage("length_mismatch", detail=f"{needs}, it has {length}")
    if length not in _padded(expected):
        notes.append(f"{rest} bytes behind the last pixel were ignored")
    return expected


def _native(parsed: Parsed, layout: Layout, frame: int, notes: list[str]) -> np.ndarray:
    """Cut one uncompressed frame out of the file; its length was proved first."""
    frame_bytes = native_length(parsed, layout, notes) // layout.frames
    if layout.bits_allocated == 1:
        return _native_bits(parsed, layout, frame)
    width = layout.bits_allocated // 8
    samples = layout.samples
    subsampled = frame_bytes < layout.frame_pixels * width * samples
    if subsampled and layout.columns % 2:
        raise UnreadableImage("bad_header", detail=f"YBR_FULL_422 with an odd number of columns ({layout.columns})")
    order = parsed.header.order
    code = {"float32": "f4", "float64": "f8"}.get(layout.kind, f"u{width}")
    if width == 1 and order == ">" and parsed.vr == "OW":
        # 8-bit samples in big endian 16-bit words: each pair of bytes is swapped (PS3.5 8.1.1); read the pair's words.
        data = _swapped_bytes(parsed, frame * frame_bytes, frame_bytes)
    else:
        parsed.stream.seek(parsed.offset + frame * frame_bytes)
        data = parsed.stream.read(frame_bytes)
    if len(data) < frame_bytes:
        raise UnreadableImage("truncated", detail="it ends inside its pixel data")
    array = np.frombuffer(data, order + code)
    if subsampled:
        return _spread_chroma(array, layout)
    if samples == 1:
        return array.reshape(layout.rows, layout.columns)
    if layout.planar:
        return array.reshape(samples, layout.rows, layout.columns).transpose(1, 2, 0)
    return array.reshape(layout.rows, layout.columns, samples)


def _swapped_bytes(parsed: Parsed, start: int, count: int) -> bytes:
    first = start - start % 2
    parsed.stream.seek(parsed.offset + first)
    words = parsed.stream.read(count + 2 - count % 2)
    swapped = np.frombuffer(words[: len(words) - len(words) % 2], ">u2").astype("<u2").tobytes()
    return swapped[start - first : start - first + count]


def _padded(length: int) -> tuple[int, int]:
    return length, length + length % 2


def _native_bits(parsed: Parsed, layout: Layout, frame: int) -> np.ndarray:
    """One bit a pixel, first pixel in the lowest bit; frames follow without padding (PS3.5 8.2)."""
    first = frame * layout.frame_pixels
    start, stop = first // 8, (first + layout.frame_pixels + 7) // 8
    if parsed.header.order == ">" and parsed.vr == "OW":
        data = _swapped_bytes(parsed, start, stop - start)
    else:
        parsed.stream.seek(parsed.offset + start)
        data = parsed.stream.read(stop - start)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    skip = first - 8 * start
    return bits[skip : skip + layout.frame_pixels].reshape(layout.rows, layout.columns)


def _spread_chroma(array: np.ndarray, layout: Layout) -> np.ndarray:
    """Y1 Y2 Cb Cr for each two pixels of a row (PS3.3 C.7.6.3.1.2) to Y Cb Cr for each."""
    quads = array.reshape(layout.rows, layout.columns // 2, 4)
    pixels = np.empty((layout.rows, layout.columns, 3), array.dtype)
    pixels[:, 0::2, 0], pixels[:, 1::2, 0] = quads[..., 0], quads[..., 1]
    pixels[:, 0::2, 1:] = pixels[:, 1::2, 1:] = quads[..., 2:]
    return pixels


def _encapsulated(parsed: Parsed, layout: Layout, frame: int, notes: list[str]) -> Stored:
    syntax = parsed.syntax
    data = _frame_bytes(parsed, layout, frame)
    if syntax == _RLE:
        width = layout.bits_allocated // 8
        if not width:
            raise UnreadableImage("bad_header", detail="RLE Lossless needs BitsAllocated of 8 or more, it is 1")
        sizes = {name: getattr(layout, name) for name in ("rows", "columns", "samples", "bits_allocated")}
        values = _decoded("rle", data, sizes, layout, [f"u{width}"])
        return _finish(values, layout, layout.bits_stored, layout.photometric, "RLE Lossless decoded")
    stream = probe_codestream(data)
    named = _CODEC_OF_SYNTAX.get(syntax.removeprefix(_JPEG_ROOT)) if syntax.startswith(_JPEG_ROOT) else None
    if named != stream.codec:
        notes.append(f"Transfer Syntax UID {syntax or 'missing'}: the pixels are {stream.codec} and were so decoded")
    size, said = ((s.rows, s.columns, s.samples) for s in (stream, layout))
    if size != said:
        of_stream, of_header = (" x ".join(map(str, each)) for each in (size, said))
        raise UnreadableImage(
            "length_mismatch", detail=f"its {stream.codec} stream is {of_stream}, its header says {of_header}"
        )
    if stream.precision > layout.bits_allocated:
        raise UnreadableImage(
            "length_mismatch",
            detail=f"its {stream.codec} stream has {stream.precision} bits, BitsAllocated is {layout.bits_allocated}",
        )
    # Decoders fill what is missing without a word; the end marker is the one proof that the stream is whole.
    if not data.rstrip(b"\x00\xff").endswith(b"\xff\xd9"):
        raise UnreadableImage("truncated", detail=f"its {stream.codec} stream has no end marker")
    photometric, to_rgb = _stream_colours(layout, stream.codec, stream.rgb, notes)
    values = _decode_jpeg_family(data, stream, to_rgb)
    bits = min(layout.bits_stored, stream.precision)
    low, high, half = int(values.min()), int(values.max()), 1 << (bits - 1)
    if not (low >= 0 and high < 2 * half) and not (-half <= low and high < half):  # neither unsigned nor signed
        notes.append(
            f"values of its {stream.codec} stream need more than the {bits} bits stored: the higher bits were cut off; "
            "the stream may be damaged"
        )
    return _finish(values, layout, bits, photometric, f"{stream.codec} decoded")


def _decode_jpeg_family(data: bytes, stream: Codestream, to_rgb: bool) -> np.ndarray:
    width = 1 if stream.precision <= 8 else 2 if stream.precision <= 16 else 4
    size = stream.rows * stream.columns * stream.samples * width
    if size > max(_FREE_BYTES, _MAX_RATIO * len(data)):
        raise UnreadableImage(
            "too_large", detail=f"its {stream.codec} stream of {len(data)} bytes claims to hold {size} bytes of pixels"
        )
    arguments = {"codestream": asdict(stream), "to_rgb": to_rgb}
    return _decoded("jpeg_family", data, arguments, stream, [f"u{width}", f"i{width}"])


def _decoded(
    job: str, data: bytes, arguments: Mapping[str, object], of: Layout | Codestream, kinds: list[str]
) -> np.ndarray:
    """Let the helper decode pixels of the size that `of` promises."""
    shape = (of.rows, of.columns) + ((of.samples,) if of.samples > 1 else ())
    dtypes = [np.dtype(f"<{kind}") for kind in kinds]
    size = math.prod(shape) * dtypes[0].itemsize
    return decode(job, data, arguments, shapes=[shape], dtypes=[each.str for each in dtypes], size=size).pixels


def _stream_colours(layout: Layout, codec: str, rgb: bool | None, notes: list[str]) -> tuple[str, bool]:
    """Return the colour space after decoding, and whether the JPEG decoder has to convert to RGB."""
    if layout.samples == 1:
        return layout.photometric, False
    if codec == "jpeg_2000" and layout.photometric in ("YBR_ICT", "YBR_RCT"):
        return "RGB", False  # the decoder undoes the component transform that its own stream announces
    if codec != "jpeg":
        return layout.photometric, False
    stated_rgb = layout.photometric == "RGB"
    if rgb is None:
        return "RGB", not stated_rgb
    if rgb != stated_rgb:
        space = "RGB" if rgb else "YCbCr"
        notes.append(
            f"PhotometricInterpretation is {layout.photometric}, the JPEG stream says {space}: the stream was trusted"
        )
    return "RGB", not rgb


def _frame_bytes(parsed: Parsed, layout: Layout, frame: int) -> bytes:
    header = parsed.header
    offsets, lengths = header.raw("ExtendedOffsetTable"), header.raw("ExtendedOffsetTableLengths")
    extended = (offsets, lengths) if offsets and lengths and len(offsets) == len(lengths) else None
    parsed.stream.seek(parsed.offset)
    try:
        data = get_frame(parsed.stream, frame, extended_offsets=extended, number_of_frames=layout.frames)
    except (struct.error, EOFError):
        raise UnreadableImage("truncated", detail="its encapsulated pixel data is cut off") from None
    except Exception as error:
        raise UnreadableImage(
            "corrupt", detail=f"frame {frame} cannot be found in its encapsulated pixel data ({type(error).__name__})"
        ) from None
    if not data:
        raise UnreadableImage("truncated", detail=f"frame {frame} of its encapsulated pixel data is empty")
    return data


def _finish(array: np.ndarray, layout: Layout, bits: int, photometric: str, how: str) -> Stored:
    """Cut the stored bits out of their container and extend the sign (PS3.5 8.1.1).

    `bits` carry the value, fewer than BitsStored if the code stream has fewer; `how` begins the step's sentence.
    """
    width = 8 * array.dtype.itemsize
    # Decoders put the value's lowest bit at bit 0; only uncompressed and RLE data keep HighBit.
    shift = layout.high_bit + 1 - layout.bits_stored if how in ("uncompressed", "RLE Lossless decoded") else 0
    sign = "signed" if layout.signed else "unsigned"
    step = f"stored values: {how}, {layout.bits_stored} of {layout.bits_allocated} bits, {sign}"
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    native_unsigned = native.view(f"u{width // 8}")
    container = native.view(f"i{width // 8}") if layout.signed else native_unsigned
    if shift == 0 and bits >= width:
        return Stored(container, None, photometric, step)
    cut = (native_unsigned >> shift if shift else native_unsigned) & native_unsigned.dtype.type((1 << bits) - 1)
    if layout.signed:
        up = width - bits  # move the sign bit to the top and back: the arithmetic shift extends it
        cut = (cut << up).view(f"i{width // 8}") >> up
    return Stored(cut, container, photometric, step)

"""The header of a DICOM file up to its pixel data, read as raw bytes and only for the tags that reading needs.

Values are converted here from the raw elements that pydicom finds: no name, identifier or free text is ever decoded,
and no library warning can print one.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from medvlp.io.errors import UnreadableImage

__all__ = ["TAGS", "Header", "Parsed", "parse"]

#: keyword -> tag, for all that reading looks at. Nothing else of a file is kept in memory.
TAGS: dict[str, int] = {
    "ImageType": 0x00080008, "SOPClassUID": 0x00080016, "Modality": 0x00080060, "PresentationIntentType": 0x00080068,
    "Manufacturer": 0x00080070, "BodyPartExamined": 0x00180015, "ViewPosition": 0x00185101,
    "ImagerPixelSpacing": 0x00181164, "NominalScannedPixelSpacing": 0x00182010,
    "PatientOrientation": 0x00200020, "Laterality": 0x00200060, "ImageLaterality": 0x00200062,
    "SamplesPerPixel": 0x00280002, "PhotometricInterpretation": 0x00280004, "PlanarConfiguration": 0x00280006,
    "NumberOfFrames": 0x00280008, "Rows": 0x00280010, "Columns": 0x00280011, "PixelSpacing": 0x00280030,
    "PixelAspectRatio": 0x00280034, "BitsAllocated": 0x00280100, "BitsStored": 0x00280101, "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103, "PixelPaddingValue": 0x00280120, "PixelPaddingRangeLimit": 0x00280121,
    "BurnedInAnnotation": 0x00280301, "PixelSpacingCalibrationType": 0x00280A02,
    "WindowCenter": 0x00281050, "WindowWidth": 0x00281051, "RescaleIntercept": 0x00281052, "RescaleSlope": 0x00281053,
    "VOILUTFunction": 0x00281056,
    "RedPaletteColorLookupTableDescriptor": 0x00281101, "GreenPaletteColorLookupTableDescriptor": 0x00281102,
    "BluePaletteColorLookupTableDescriptor": 0x00281103,
    "RedPaletteColorLookupTableData": 0x00281201, "GreenPaletteColorLookupTableData": 0x00281202,
    "BluePaletteColorLookupTableData": 0x00281203,
    "SegmentedRedPaletteColorLookupTableData": 0x00281221, "SegmentedGreenPaletteColorLookupTableData": 0x00281222,
    "SegmentedBluePaletteColorLookupTableData": 0x00281223,
    "LossyImageCompression": 0x00282110, "ModalityLUTSequence": 0x00283000, "LUTDescriptor": 0x00283002,
    "LUTData": 0x00283006, "VOILUTSequence": 0x00283010, "PresentationLUTShape": 0x20500020,
    "SharedFunctionalGroupsSequence": 0x52009229, "PerFrameFunctionalGroupsSequence": 0x52009230,
    "PixelMeasuresSequence": 0x00289110, "FrameVOILUTSequence": 0x00289132,
    "PixelValueTransformationSequence": 0x00289145,
    "ExtendedOffsetTable": 0x7FE00001, "ExtendedOffsetTableLengths": 0x7FE00002,
}  # fmt: skip

_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_GE_PRIVATE_IMPLICIT = "1.2.840.113619.5.2"  # implicit header, big endian pixels; not decoded
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_MAX_INFLATED = 1 << 30  # bytes
_MAX_INFLATE_RATIO = 100  # an X-ray deflates 2 to 5 times, an empty mask 100s: beyond 64 MiB that is a bomb
_FREE_INFLATED = 64 << 20  # bytes allowed whatever the ratio
_PIXEL_TAGS = {0x7FE00008: "float32", 0x7FE00009: "float64", 0x7FE00010: "int"}
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Header:
    """Typed access to the raw elements of one data set (or item of a sequence)."""

    dataset: Dataset
    order: str  # struct's sign for the byte order, "<" or ">"

    def has(self, keyword: str) -> bool:
        """Whether the tag is present with a value."""
        return self.raw(keyword) not in (None, b"")

    def raw(self, keyword: str) -> bytes | None:
        """Return the value's bytes, or None if the tag is absent or is a sequence."""
        element = self.dataset.get_item(TAGS[keyword])
        if element is None:
            return None
        if element.value is None:
            return b""
        return element.value if isinstance(element.value, bytes) else None

    def vr(self, keyword: str) -> str | None:
        """Return the value representation written in the file; None where the file does not write it."""
        element = self.dataset.get_item(TAGS[keyword])
        return None if element is None or element.VR is None else str(element.VR)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return the values of a text element, stripped; () if absent or empty."""
        raw = self.raw(keyword)
        if not raw:
            return ()
        text = raw.decode("ascii", "replace").rstrip(" \0")
        return tuple(part.strip(" \0") for part in text.split("\\")) if text else ()

    def text(self, keyword: str) -> str | None:
        """Return the first value of a text element, or None."""
        values = self.texts(keyword)
        return values[0] if values and values[0] else None

    def numbers(self, keyword: str, *, signed: bool = False) -> tuple[float, ...]:
        """Return the values of a numeric element of any VR; () if absent or empty.

        Args:
            keyword: one of ``TAGS``.
            signed: how to read 16-bit values whose VR (US or SS) the file does not write.

        Raises:
            ValueError: the value is not numbers.
        """
        raw = self.raw(keyword)
        if not raw:
            return ()
        vr = self.vr(keyword)
        if vr in _BINARY:
            code = _BINARY[vr]
        elif vr in ("DS", "IS", "LO", "SH", "CS", "UT", "ST", "LT") or (
            vr in (None, "UN") and TAGS[keyword] in _DECIMAL
        ):
            return tuple(_number(text) for text in self.texts(keyword) if text)
        else:
            code = "h" if signed else "H"
        count = len(raw) // struct.calcsize(code)
        if count == 0:
            raise ValueError("too short")
        return struct.unpack(f"{self.order}{count}{code}", raw[: count * struct.calcsize(code)])

    def integer(self, keyword: str, default: int | None = None, *, signed: bool = False) -> int:
        """Return the first value as an integer, or ``default`` if the tag is absent.

        Raises:
            UnreadableImage: absent without a default, or not a whole number.
        """
        try:
            values = self.numbers(keyword, signed=signed)
        except (ValueError, struct.error):
            raise UnreadableImage("bad_header", detail=f"{keyword} is not a number") from None
        if not values:
            if default is None:
                raise UnreadableImage("bad_header", detail=f"{keyword} is missing")
            return default
        if values[0] != int(values[0]):
            raise UnreadableImage("bad_header", detail=f"{keyword} is {values[0]}, not a whole number")
        return int(values[0])

    def items(self, keyword: str) -> tuple[Header, ...]:
        """Return the items of a sequence; () if absent or empty.

        Raises:
            UnreadableImage: the sequence cannot be parsed.
        """
        tag = TAGS[keyword]
        if self.dataset.get_item(tag) is None:
            return ()
        try:
            element = self.dataset[tag]
            value = element.value if element.VR == "SQ" else ()
            return tuple(Header(item, self.order) for item in value or ())
        except UnreadableImage:
            raise
        except Exception:
            raise UnreadableImage("corrupt", detail=f"{keyword} cannot be parsed") from None


_DECIMAL = {
    TAGS[keyword]
    for keyword in (
        "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing", "PixelAspectRatio", "NumberOfFrames",
        "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept",
    )
}  # fmt: skip


def _number(text: str) -> float:
    value = float(text)
    if "_" in text or value != value or value in (float("inf"), float("-inf")):
        raise ValueError(text)  # float() takes "1_0", "nan" and "inf"; DICOM's DS does not
    return value


@dataclass(frozen=True)
class Parsed:
    """A DICOM file split at its pixel data.

    Attributes:
        header: the data set before the pixels.
        syntax: transfer syntax UID, "" where the file names none.
        stream: where the pixel bytes are (the file, or the inflated data set).
        offset: of the first pixel byte in ``stream``.
        length: of the pixel element in bytes; None for undefined length (encapsulated).
        available: bytes from ``offset`` to the end of ``stream``.
        kind: "int", "float32" or "float64".
        vr: value representation of the pixel element, None if implicit.
        warnings: what had to be guessed.
    """

    header: Header
    syntax: str
    stream: BinaryIO
    offset: int
    length: int | None
    available: int
    kind: str
    vr: str | None
    warnings: tuple[str, ...]


def parse(stream: BinaryIO) -> Parsed:
    """Read a DICOM file's header and find its pixel data, without reading the pixels.

    Raises:
        UnreadableImage: not parsable, or without pixel data.
    """
    notes: list[str] = []
    syntax = _file_meta(stream, notes)
    if syntax == _DEFLATED:
        stream = io.BytesIO(_inflate(stream))
    start = stream.tell()
    probe = stream.read(6)
    stream.seek(start)
    if len(probe) < 6:
        raise UnreadableImage("truncated", detail="the file ends before its data set")
    if syntax:
        implicit, little = syntax in (_IMPLICIT_LITTLE, _GE_PRIVATE_IMPLICIT), syntax != _EXPLICIT_BIG
    else:
        implicit, little = not probe[4:6].isalpha(), not (probe[4:6].isalpha() and probe[0] == 0)
        guess = "Implicit" if implicit else "Explicit"
        notes.append(f"Transfer Syntax UID is missing: {guess} VR {'Little' if little else 'Big'} Endian was assumed")
    try:
        dataset = read_dataset(
            stream, implicit, little, stop_when=_at_pixels, specific_tags=[BaseTag(tag) for tag in TAGS.values()]
        )
    except Exception as error:
        raise UnreadableImage("corrupt", detail=f"its data set cannot be parsed ({type(error).__name__})") from None
    header = Header(dataset, "<" if little else ">")
    return _at_pixel_element(stream, header, syntax, notes)


_at_pixels: Callable[[BaseTag, str | None, int], bool] = lambda tag, vr, length: tag > 0x7FE00002  # noqa: E731


def _at_pixel_element(stream: BinaryIO, header: Header, syntax: str, notes: list[str]) -> Parsed:
    order = header.order
    head = stream.read(12)
    is_pixels = len(head) >= 8
    group, element = struct.unpack(order + "HH", head[:4]) if is_pixels else (0, 0)
    kind = _PIXEL_TAGS.get(group << 16 | element)
    if kind is None:
        # An image's header without its pixels: the file was cut; anything else never had any.
        if header.has("Rows") and header.has("Columns"):
            raise UnreadableImage("truncated", detail="it has an image header but ends before or lacks its pixel data")
        raise UnreadableImage("no_pixels", detail="its data set holds no pixel data")
    vr = head[4:6].decode("ascii", "replace")
    if vr in ("OB", "OW", "OF", "OD", "UN", "OL", "OV"):
        if len(head) < 12:
            raise UnreadableImage("truncated", detail="it ends inside the header of its pixel data")
        length, skip = struct.unpack(order + "I", head[8:12])[0], 0
    else:
        vr, length, skip = None, struct.unpack(order + "I", head[4:8])[0], len(head) - 8
    offset = stream.tell() - skip
    available = stream.seek(0, io.SEEK_END) - offset
    return Parsed(
        header=header,
        syntax=syntax,
        stream=stream,
        offset=offset,
        length=None if length == _UNDEFINED else length,
        available=available,
        kind=kind,
        vr=vr,
        warnings=tuple(notes),
    )


def _file_meta(stream: BinaryIO, notes: list[str]) -> str:
    """Read group 0002 (PS3.10 7.1), leave the stream at the data set and return the transfer syntax, "" if missing."""
    head = stream.read(132)
    if head[128:132] == b"DICM":
        if head[:2] == b"MZ" or head[:4] == b"\x7fELF":
            notes.append("the preamble holds the head of a program (a file of two kinds); it was ignored")
    else:
        stream.seek(0)
        notes.append("the DICOM preamble is missing: the file was recognised by its first elements")
    syntax = ""
    while True:
        start = stream.tell()
        element = stream.read(12)
        if len(element) < 8 or element[:2] != b"\x02\x00":
            stream.seek(start)
            return syntax
        if element[4:6] in (b"OB", b"OW", b"UN", b"UT", b"SQ") and len(element) == 12:
            length = struct.unpack("<I", element[8:12])[0]
        else:
            explicit = element[4:6].isalpha() and element[4:6].isupper()
            length = struct.unpack("<H", element[6:8])[0] if explicit else struct.unpack("<I", element[4:8])[0]
            stream.seek(start + 8)
        if length > 1 << 20:
            raise UnreadableImage("corrupt", detail=f"an element of its file meta information claims {length} bytes")
        value = stream.read(length)
        if len(value) < length:
            raise UnreadableImage("truncated", detail="it ends inside its file meta information")
        if element[2:4] == b"\x10\x00":
            syntax = value.decode("ascii", "replace").strip(" \0")


def _inflate(stream: BinaryIO) -> bytes:
    """Inflate the rest of a deflated data set (PS3.5 A.5), within a cap on size and ratio."""
    packed = stream.read()
    limit = min(_MAX_INFLATED, max(_FREE_INFLATED, _MAX_INFLATE_RATIO * len(packed)))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, limit)
        if inflater.unconsumed_tail:
            raise UnreadableImage("too_large", detail=f"its deflated data set is larger than {limit} bytes")
    except zlib.error:
        raise UnreadableImage("corrupt", detail="its deflated data set cannot be inflated") from None
    if not inflater.eof:
        raise UnreadableImage("truncated", detail="its deflated data set is cut off")
    return data

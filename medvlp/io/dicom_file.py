"""A DICOM file split at its pixel data: preamble, file meta information, data set, and where the pixels lie."""

from __future__ import annotations

import io
import logging
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from medvlp.io.dicom_header import TAGS, Header
from medvlp.io.errors import UnreadableImage

_IMPLICIT_LITTLE, _EXPLICIT_BIG, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_MAX_INFLATED = 512 << 20  # bytes
_CHUNK = 1 << 20
_MAX_ELEMENTS = 100_000  # before the pixels; real files have hundreds, and each one takes time to step over
_MAX_META = 256  # of group 0002, which defines about 20
_MAX_INFLATE_RATIO = 100  # an X-ray deflates 2 to 5 times, an empty mask 100s: beyond 64 MiB that is a bomb
_FREE_INFLATED = 64 << 20  # bytes allowed whatever the ratio
_PIXEL_TAGS = {0x7FE00008: "float32", 0x7FE00009: "float64", 0x7FE00010: "int"}
_UNDEFINED = 0xFFFFFFFF
_SLICES = ("2", "2.1", "2.2", "4", "4.1", "4.4", "20", "128", "128.1", "130")
#: SOP Class UIDs of slices: CT, MR, PET, NM, enhanced or converted to it. Without pixels such a file is a part of one.
SLICES = tuple(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in _SLICES)
#: Of segmentations in bits or fractions, and of labels.
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_UID = re.compile(r"[0-9.]{1,64}")
_QUIET = threading.RLock()

# The first is said by ``Parsed.warnings``, the second ends in a refusal, and text is never decoded: no need to repeat
# them on the terminal, the less as the second names the file.
warnings.filterwarnings(
    "ignore",
    message="Expected (implicit|explicit) VR|End of file reached|Unknown encoding|Incorrect value for Specific",
    module=r"pydicom\.",
)


@contextmanager
def quiet() -> Generator[list[warnings.WarningMessage]]:
    """Keep what pydicom and highdicom warn of from every log and screen: they quote values, and names.

    Threads wait for each other, as filters of warnings are the process's.
    """
    logger = logging.getLogger("pydicom")
    with _QUIET, warnings.catch_warnings(record=True) as caught:
        before = logger.disabled
        warnings.simplefilter("always")
        logger.disabled = True
        try:
            yield caught
        finally:
            logger.disabled = before


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
    """Read a DICOM file's header and find its pixel data, without reading the pixels."""
    notes: list[str] = []
    syntax = _file_meta(stream, notes)
    if syntax == _DEFLATED:
        stream = _inflate(stream)
    start = stream.tell()
    probe = stream.read(6)
    stream.seek(start)
    if len(probe) < 6:
        raise UnreadableImage("truncated", detail="the file ends before its data set")
    if syntax:
        implicit, little = syntax == _IMPLICIT_LITTLE, syntax != _EXPLICIT_BIG
    else:
        implicit, little = not probe[4:6].isalpha(), not (probe[4:6].isalpha() and probe[0] == 0)
        guess = "Implicit" if implicit else "Explicit"
        notes.append(f"Transfer Syntax UID is missing: {guess} VR {'Little' if little else 'Big'} Endian was assumed")
    try:
        dataset = read_dataset(
            stream, implicit, little, stop_when=_at_pixels(), specific_tags=[BaseTag(tag) for tag in TAGS.values()]
        )
    except UnreadableImage:
        raise
    except Exception as error:
        raise UnreadableImage("corrupt", detail=f"its data set cannot be parsed ({type(error).__name__})") from None
    header = Header(dataset, "<" if little else ">")
    found = next(
        (element.is_implicit_VR for element in dataset.elements() if isinstance(element, RawDataElement)), implicit
    )
    if syntax and found != implicit:
        notes.append(
            f"the data set is {'Implicit' if found else 'Explicit'} VR, against its Transfer Syntax UID {syntax}"
        )
    return _at_pixel_element(stream, header, syntax, notes)


def _at_pixels() -> Callable[[BaseTag, str | None, int], bool]:
    """Return what stops at the pixels, and refuses a file that is nothing but elements."""
    seen = 0

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal seen
        seen += 1
        if seen > _MAX_ELEMENTS:
            raise UnreadableImage("too_large", detail=f"it has more than {_MAX_ELEMENTS} elements before its pixels")
        return tag > 0x7FE00003  # behind the extended offset tables and the length of all fragments

    return stop


def _at_pixel_element(stream: BinaryIO, header: Header, syntax: str, notes: list[str]) -> Parsed:
    order = header.order
    start = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    if start > size:
        raise UnreadableImage("truncated", detail="a tag before its pixel data claims more bytes than the file has")
    stream.seek(start)
    head = stream.read(12)
    tag = struct.unpack(order + "HH", head[:4]) if len(head) >= 8 else (0, 0)
    kind = _PIXEL_TAGS.get(tag[0] << 16 | tag[1])
    if kind is None:
        # An image's header without its pixels: the file was cut; anything else never had any.
        if (header.has("Rows") and header.has("Columns")) or header.text("SOPClassUID") in SLICES:
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
    length = None if length == _UNDEFINED else length
    return Parsed(header, syntax, stream, offset, length, size - offset, kind, vr, tuple(notes))


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
    for _ in range(_MAX_META):
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
            if not _UID.fullmatch(syntax):
                notes.append("Transfer Syntax UID is not a UID and was ignored")
                syntax = ""
    raise UnreadableImage("bad_header", detail=f"its file meta information has {_MAX_META} elements or more")


def inflated(stream: BinaryIO) -> io.BytesIO | None:
    """Return the data set of a deflated file, within a cap on its size; else None, and the stream at its start."""
    if _file_meta(stream, []) == _DEFLATED:
        return _inflate(stream)
    stream.seek(0)
    return None


def _inflate(stream: BinaryIO) -> io.BytesIO:
    """Inflate the rest of a deflated data set (PS3.5 A.5), within a cap on size and ratio."""
    start = stream.tell()
    packed = stream.seek(0, io.SEEK_END) - start
    stream.seek(start)
    limit = min(_MAX_INFLATED, max(_FREE_INFLATED, _MAX_INFLATE_RATIO * packed))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = io.BytesIO()  # grows in place: joining pieces would hold everything twice
    try:
        while not inflater.eof:
            piece = inflater.unconsumed_tail or stream.read(_CHUNK)
            part = inflater.decompress(piece, _CHUNK)
            # All bytes may be taken while the last values are still to be given: the room for them was full.
            if not (piece or part or inflater.eof):
                raise UnreadableImage("truncated", detail="its deflated data set is cut off")
            data.write(part)
            if data.tell() > limit:
                raise UnreadableImage("too_large", detail=f"its deflated data set is larger than {limit} bytes")
    except zlib.error:
        raise UnreadableImage("corrupt", detail="its deflated data set cannot be inflated") from None
    data.seek(0)
    return data

"""DICOM files written by hand from PS3.5 and PS3.10, so that no library's opinion is in the expected values."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"

_LONG = ("OB", "OW", "OF", "OD", "SQ", "UN", "UT", "UV")
_CODES = {"US": "H", "SS": "h", "UL": "I", "FD": "d", "FL": "f"}


class DicomWriter:
    """Writes data sets; a value is bytes, a string, a number, a list of numbers, or a list of data sets (SQ)."""

    def __init__(self, syntax: str = EXPLICIT) -> None:
        self.order = ">" if syntax == BIG else "<"
        self.implicit = syntax == IMPLICIT

    def value(self, vr: str, value: object) -> bytes:
        if isinstance(value, bytes):
            return value
        if vr == "SQ":
            items = b""
            for item in value:
                body = self.dataset(item)
                items += struct.pack(self.order + "HHI", 0xFFFE, 0xE000, len(body)) + body
            return items
        if isinstance(value, str):
            pad = b"\0" if vr == "UI" else b" "
            data = value.encode("latin-1")
            return data + pad * (len(data) % 2)
        numbers = list(value) if isinstance(value, (list, tuple)) else [value]
        if vr in ("DS", "IS"):
            return self.value(vr, "\\".join(str(number) for number in numbers))
        return struct.pack(f"{self.order}{len(numbers)}{_CODES[vr]}", *numbers)

    def element(self, tag: int, vr: str, value: object, *, length: int | None = None) -> bytes:
        data = self.value(vr, value)
        size = len(data) if length is None else length
        head = struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if self.implicit:
            return head + struct.pack(self.order + "I", size) + data
        if vr in _LONG:
            return head + vr.encode() + b"\0\0" + struct.pack(self.order + "I", size) + data
        return head + vr.encode() + struct.pack(self.order + "H", size) + data

    def dataset(self, elements: dict[int, tuple[str, object]]) -> bytes:
        return b"".join(self.element(tag, vr, value) for tag, (vr, value) in sorted(elements.items()))


def encapsulate(frames: list[bytes], *, fragments: int = 1, table: bool = False) -> bytes:
    """PS3.5 A.4: offset table item, then each frame in one or more fragment items, then the delimiter."""
    body, offsets = b"", []
    for frame in frames:
        offsets.append(len(body))
        step = -(-len(frame) // fragments)
        step += step % 2  # only a frame's last fragment may be padded
        for start in range(0, len(frame), step):
            piece = frame[start : start + step]
            piece += b"\0" * (len(piece) % 2)
            body += struct.pack("<HHI", 0xFFFE, 0xE000, len(piece)) + piece
    entries = struct.pack(f"<{len(offsets)}I", *offsets) if table else b""
    head = struct.pack("<HHI", 0xFFFE, 0xE000, len(entries)) + entries
    return head + body + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@pytest.fixture
def dicom(tmp_path: Path):
    return dicom_writer(tmp_path)


def dicom_writer(folder: Path):
    """Return a function that writes a DICOM file into a folder and returns its path.

    ``pixels`` is a NumPy array (rows, columns), (frames, rows, columns) or bytes; ``tags`` are added or, with None,
    removed; ``compressed`` is a list of frames to be encapsulated.
    """
    count = iter(range(10**6))

    def write(
        pixels,
        tags=None,
        *,
        rows=None,
        columns=None,
        frames=None,
        bits=None,
        syntax=EXPLICIT,
        compressed=None,
        fragments=1,
        table=False,
        preamble=b"\0" * 128,
        meta=True,
        vr=None,
        length=None,
    ) -> Path:
        writer = DicomWriter(syntax)
        if not isinstance(pixels, bytes):
            rows, columns = rows or pixels.shape[-2], columns or pixels.shape[-1]
            frames = frames or (pixels.shape[0] if pixels.ndim == 3 else None)
            bits = bits or 8 * pixels.dtype.itemsize
            data = pixels.astype(pixels.dtype.newbyteorder(writer.order)).tobytes()
            signed = int(pixels.dtype.kind == "i")
        else:
            data, signed = pixels, 0
        data += b"\0" * (len(data) % 2)
        elements = {
            0x00080060: ("CS", "DX"),
            0x00280002: ("US", 1),
            0x00280004: ("CS", "MONOCHROME2"),
            0x00280010: ("US", rows),
            0x00280011: ("US", columns),
            0x00280030: ("DS", [0.5, 0.5]),
            0x00280100: ("US", bits),
            0x00280101: ("US", bits),
            0x00280102: ("US", bits - 1),
            0x00280103: ("US", signed),
        }
        if frames:
            elements[0x00280008] = ("IS", frames)
        elements.update(tags or {})
        body = writer.dataset({tag: entry for tag, entry in elements.items() if entry is not None})
        vr = vr or ("OW" if bits > 8 else "OB")
        if compressed is not None:
            data, length = encapsulate(compressed, fragments=fragments, table=table), 0xFFFFFFFF
            vr = "OB"
        body += writer.element(0x7FE00010, vr, data, length=length)
        if syntax == DEFLATED:
            squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            body = squeezer.compress(body) + squeezer.flush()
        head = b""
        if meta:
            group = DicomWriter().element(0x00020010, "UI", syntax)
            head = DicomWriter().element(0x00020000, "UL", len(group)) + group
        if preamble is not None:
            head = preamble + b"DICM" + head
        path = folder / f"{next(count)}.bin"
        path.write_bytes(head + body)
        return path

    return write

"""How the pixels of a DICOM file lie in its bytes: checked against each other before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from medvlp.io.dicom_file import Parsed
from medvlp.io.dicom_header import Header
from medvlp.io.errors import UnreadableImage

MAX_PIXELS = 89_000_000
"""Largest rows x columns that is decoded: twice the largest mammogram, and below Pillow's own alarm."""

_GRAY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_ALLOWED_BITS = (1, 8, 16, 32, 64)
_VIDEO = "1.2.840.10008.1.2.4.10"  # MPEG2, H.264 and H.265 are .100 to .109
_JPEG_XL = "1.2.840.10008.1.2.4.11"  # .110 to .112


@dataclass(frozen=True)
class Layout:
    """Geometry and bits of the stored pixels (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: int
    kind: str

    @property
    def frame_pixels(self) -> int:
        """Pixels of one frame."""
        return self.rows * self.columns

    @property
    def minimum(self) -> int:
        """Smallest storable value."""
        return -(1 << (self.bits_stored - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """Largest storable value."""
        return (1 << (self.bits_stored - self.signed)) - 1


def check_layout(parsed: Parsed, notes: list[str]) -> Layout:
    """Return the layout of the pixel data; `notes` gets the warnings."""
    header = parsed.header
    if parsed.syntax.startswith(_VIDEO):  # first: its colours, YBR_PARTIAL_420, are those of no image (PS3.5 8.2.5)
        raise UnreadableImage("no_decoder", detail="it holds video (MPEG)", hint="export its frames as images")
    if parsed.syntax.startswith(_JPEG_XL):  # so, too, may be its colours: XYB
        hint = "export it again uncompressed, or in JPEG 2000, from its archive"
        raise UnreadableImage("no_decoder", detail="it is compressed in JPEG XL, which nothing here decodes", hint=hint)
    rows, columns = header.integer("Rows"), header.integer("Columns")
    if rows < 1 or columns < 1:
        raise UnreadableImage("bad_header", detail=f"Rows x Columns is {rows} x {columns}")
    if rows * columns > MAX_PIXELS:
        raise UnreadableImage("too_large", detail=f"{rows} x {columns} pixels are more than {MAX_PIXELS}")
    frames = header.integer("NumberOfFrames", 1) or 1  # 0 is written by some encoders for "one"
    if frames < 1:
        raise UnreadableImage("bad_header", detail=f"NumberOfFrames is {frames}")
    samples = header.integer("SamplesPerPixel", 1)
    photometric = _photometric(header, samples, notes)
    integer = parsed.kind == "int"
    allocated = header.integer("BitsAllocated", None if integer else {"float32": 32, "float64": 64}[parsed.kind])
    if allocated not in _ALLOWED_BITS:
        raise UnreadableImage("bad_header", detail=f"BitsAllocated is {allocated}, not 1, 8, 16, 32 or 64")
    stored = header.integer("BitsStored", allocated) if integer else allocated
    if not 1 <= stored <= allocated:
        raise UnreadableImage("bad_header", detail=f"BitsStored is {stored} of BitsAllocated {allocated}")
    high = header.integer("HighBit", stored - 1) if integer else stored - 1
    if not stored - 1 <= high < allocated:
        notes.append(f"HighBit is {high} with BitsStored {stored} of {allocated}: {stored - 1} was taken")
        high = stored - 1
    representation = header.integer("PixelRepresentation", 0)
    if representation not in (0, 1):
        raise UnreadableImage("bad_header", detail=f"PixelRepresentation is {representation}, not 0 or 1")
    planar = header.integer("PlanarConfiguration", 0)
    if samples > 1 and planar not in (0, 1):
        raise UnreadableImage("bad_header", detail=f"PlanarConfiguration is {planar}, not 0 or 1")
    return Layout(
        rows=rows, columns=columns, frames=frames, samples=samples, bits_allocated=allocated, bits_stored=stored,
        high_bit=high, signed=bool(representation) and integer and allocated > 1, photometric=photometric,
        planar=planar if samples > 1 else 0, kind=parsed.kind,
    )  # fmt: skip


def _photometric(header: Header, samples: int, notes: list[str]) -> str:
    written = (header.text("PhotometricInterpretation") or "").upper()
    if samples == 1:
        if written in _GRAY or written == "PALETTE COLOR":
            return written
        if not written:
            notes.append("PhotometricInterpretation is missing: MONOCHROME2 was assumed")
            return "MONOCHROME2"
    if samples == 3 and written in _COLOUR:
        return written
    if samples not in (1, 3):
        raise UnreadableImage("bad_header", detail=f"SamplesPerPixel is {samples}, not 1 or 3")
    shown = written if written.replace("_", "").replace(" ", "").isalnum() else "not readable"
    raise UnreadableImage(
        "bad_header", detail=f"PhotometricInterpretation {shown or 'missing'} with {samples} samples a pixel"
    )

"""One slice of a DICOM series or frame of a multi-frame file: what it is, where it lies, what tells it from others."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from medvlp.io.dicom_display import frame_items
from medvlp.io.dicom_file import SEGMENTATIONS, Parsed
from medvlp.io.dicom_header import Header
from medvlp.io.dicom_layout import Layout
from medvlp.io.errors import UnreadableImage
from medvlp.io.sniff import open_regular

# Terms of the standard (C.7.3.1.1.1; C.11.1.1.2 and C.8.9.1.1.3): whatever else is written there is told to nobody.
_MODALITIES = (
    "CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "RG", "PX", "IO", "XA", "RF", "OT", "SC", "SEG", "RTDOSE",
    "RTIMAGE", "OPT", "OP", "IVUS", "IVOCT", "ES", "BDUS", "SM", "XC",
)  # fmt: skip
UNITS = (
    "HU", "HU_MOD", "US", "OD", "MGML", "Z_EFF", "ED", "EDW", "PCT", "CNTS", "NONE", "CM2", "CM2ML", "PCNT", "CPS",
    "BQML", "MGMINML", "UMOLMINML", "MLMING", "MLG", "1CM", "UMOLML", "PROPCNTS", "PROPCPS", "MLMINML", "GML", "STDDEV",
    "SUV",
)  # fmt: skip
_UNSPECIFIED = "unspecified"
_ORTHOGONAL = 1e-2  # cosine of the angle between rows and columns; direction cosines are rounded to a few digits


@dataclass(frozen=True, eq=False)
class Source:
    """A file whose header was read; ``path`` is where to find it again."""

    path: str
    parsed: Parsed
    layout: Layout
    notes: tuple[str, ...]

    @contextmanager
    def opened(self) -> Generator[Parsed]:
        """Give the parsed file with an open stream: its own, or a new one where too many would have been open."""
        if not self.parsed.stream.closed:
            yield self.parsed
            return
        with open_regular(self.path) as stream:
            yield replace(self.parsed, stream=stream)


@dataclass(frozen=True)
class Place:
    """Where a slice lies (PS3.3 C.7.6.2.1.1), in LPS mm: the centre of its first pixel, and unit vectors along a row
    and along a column; `spacing` is between rows, between columns; `thickness` is None where the file does not say.
    """

    position: tuple[float, float, float]
    along_row: tuple[float, float, float]
    along_column: tuple[float, float, float]
    spacing: tuple[float, float]
    thickness: float | None


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice: frame `frame` of a file.

    `groups` are where its attributes may stand, the data set last; `unsuited` says why it can be no part of a volume,
    "" where it can; `lack` what is missing or wrong where `place` is None.
    """

    source: Source
    frame: int
    groups: tuple[Header, ...]
    modality: str
    unsuited: str
    place: Place | None
    lack: str

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.source.layout.rows, self.source.layout.columns

    def refusal(self, reason: str, detail: str, hint: str | None = None) -> UnreadableImage:
        """Return a refusal that names this slice's file, and its frame where there are several."""
        where = f"frame {self.frame}: " if self.source.layout.frames > 1 else ""
        return UnreadableImage(reason, detail=where + detail, hint=hint, path=self.source.path)

    def find(self, keyword: str, sequence: str = "") -> Header | None:
        """Return the item that holds an attribute: the frame's own, else the shared one, else the data set."""
        items = self.groups if sequence else ()
        for name in sequence.split():
            items = frame_items(items, name)
        return next((header for header in (*items, self.groups[-1]) if header.has(keyword)), None)

    @property
    def units(self) -> tuple[str, str]:
        """Unit of the values as the file states it, and the rescale that produced them."""
        sequence = "PixelValueTransformationSequence"
        rescaled = self.find("RescaleSlope", sequence) or self.find("RescaleIntercept", sequence)
        tables = self.groups[-1].items("ModalityLUTSequence")
        kind = "table" if tables else "rescaled" if rescaled else "stored"
        holder = self.find("RescaleType", sequence)
        named = holder.text("RescaleType") if holder else self.groups[-1].text("Units")
        named = tables[0].text("ModalityLUTType") if tables else named
        usual = "HU" if self.modality == "CT" and kind != "stored" else _UNSPECIFIED
        return named.upper() if named else usual, kind

    @property
    def unit(self) -> str:
        """The unit, if it is one of the standard's."""
        named = self.units[0]
        return named if named in UNITS or named == _UNSPECIFIED else "a unit that is not the standard's"


def slices_of(source: Source) -> tuple[Slice, ...]:
    """Return the slices of a file, one for each frame, in the order of the frames."""
    header, frames = source.parsed.header, source.layout.frames
    shared = header.items("SharedFunctionalGroupsSequence")[:1]
    per_frame = header.items("PerFrameFunctionalGroupsSequence")
    if per_frame and len(per_frame) != frames:
        detail = f"it has functional groups for {len(per_frame)} frames, NumberOfFrames is {frames}"
        raise UnreadableImage("bad_header", detail=detail)
    modality = (header.text("Modality") or "").upper()
    modality = modality if modality in _MODALITIES else "other modality"
    unsuited = _unsuited(source)
    found: list[Slice] = []
    for frame in range(frames if per_frame else 1):
        own = per_frame[frame : frame + 1]
        slice_ = Slice(source, frame, (*own, *shared, header), modality, unsuited, None, "")
        try:
            found.append(replace(slice_, place=_place(slice_, own)))
        except _LackingError as lack:
            found.append(replace(slice_, lack=str(lack)))
    return tuple(found)


class _LackingError(Exception):
    pass


def _unsuited(source: Source) -> str:
    header = source.parsed.header
    kinds = [value.upper() for value in (*header.texts("ImageType"), *header.texts("Modality"))]
    # A mosaic is many slices with the place of none; doses have a scaling of their own (PS3.3 C.8.8.3).
    for kind, named in (("LOCALIZER", "localizer"), ("MOSAIC", "mosaic of slices"), ("RTDOSE", "dose grid")):
        if kind in kinds:
            return named
    if header.text("SOPClassUID") in SEGMENTATIONS:
        return "segmentation"
    if source.layout.samples > 1 or source.layout.photometric == "PALETTE COLOR":
        return "colour image"
    return ""


def _place(slice_: Slice, own: tuple[Header, ...]) -> Place:
    if slice_.source.layout.frames > 1 and not frame_items(own, "PlanePositionSequence"):
        raise _LackingError("its frames have no positions of their own (PlanePositionSequence)")
    position = _numbers(slice_, "ImagePositionPatient", "PlanePositionSequence", 3)
    cosines = _numbers(slice_, "ImageOrientationPatient", "PlaneOrientationSequence", 6)
    rows, columns = _numbers(slice_, "PixelSpacing", "PixelMeasuresSequence", 2)
    if not (1e-6 < rows < 1e4 and 1e-6 < columns < 1e4):
        raise _LackingError(f"PixelSpacing {rows:g}, {columns:g} is not a spacing")
    along_row, along_column = _unit(cosines[:3]), _unit(cosines[3:])
    if abs(_dot(along_row, along_column)) > _ORTHOGONAL:
        raise _LackingError("ImageOrientationPatient is not two directions at a right angle")
    try:
        thickness = _numbers(slice_, "SliceThickness", "PixelMeasuresSequence", 1)[0]
    except _LackingError:
        thickness = 0.0
    return Place(
        (position[0], position[1], position[2]), along_row, along_column, (rows, columns),
        thickness if thickness > 0 else None,
    )  # fmt: skip


def _numbers(slice_: Slice, keyword: str, sequence: str, count: int) -> tuple[float, ...]:
    holder = slice_.find(keyword, sequence)
    if holder is None:
        raise _LackingError(f"{keyword} is missing")
    try:
        values = holder.numbers(keyword)
    except ValueError:
        raise _LackingError(f"{keyword} is not numbers") from None
    if len(values) != count or not all(abs(value) < 1e6 for value in values):
        raise _LackingError(f"{keyword} is not {count} finite numbers")
    return values


def _unit(vector: tuple[float, ...]) -> tuple[float, float, float]:
    length = math.sqrt(_dot(vector, vector))
    if not 0.99 < length < 1.01:
        raise _LackingError("ImageOrientationPatient is not two unit vectors")
    x, y, z = vector
    return x / length, y / length, z / length


def _dot(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))

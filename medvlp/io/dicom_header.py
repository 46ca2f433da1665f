"""The tags of a DICOM file that reading needs, converted from raw bytes.

Values come from the raw elements that pydicom finds: no name, identifier or free text is ever decoded, no library
warning can print one, and damaged values fail here, in one way.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pydicom.dataset import Dataset

from medvlp.io.errors import UnreadableImage

__all__ = ["TAGS", "Header"]

#: keyword -> tag, for all that reading looks at. Nothing else of a file is kept in memory.
TAGS: dict[str, int] = {
    "ImageType": 0x00080008, "SOPClassUID": 0x00080016, "StudyDate": 0x00080020, "StudyTime": 0x00080030,
    "PatientID": 0x00100020, "StudyInstanceUID": 0x0020000D, "AcquisitionDateTime": 0x0008002A,
    "AcquisitionTime": 0x00080032, "Modality": 0x00080060, "PresentationIntentType": 0x00080068,
    "Manufacturer": 0x00080070, "BodyPartExamined": 0x00180015, "SliceThickness": 0x00180050, "EchoTime": 0x00180081,
    "TriggerTime": 0x00181060, "ViewPosition": 0x00185101, "EffectiveEchoTime": 0x00189082,
    "DiffusionBValue": 0x00189087, "SeriesInstanceUID": 0x0020000E, "AcquisitionNumber": 0x00200012,
    "ImagePositionPatient": 0x00200032,
    "ImageOrientationPatient": 0x00200037, "FrameOfReferenceUID": 0x00200052, "TemporalPositionIdentifier": 0x00200100,
    "StackID": 0x00209056, "TemporalPositionIndex": 0x00209128, "NominalCardiacTriggerDelayTime": 0x00209153,
    "ImagerPixelSpacing": 0x00181164, "NominalScannedPixelSpacing": 0x00182010,
    "PatientOrientation": 0x00200020, "Laterality": 0x00200060, "ImageLaterality": 0x00200062,
    "SamplesPerPixel": 0x00280002, "PhotometricInterpretation": 0x00280004, "PlanarConfiguration": 0x00280006,
    "NumberOfFrames": 0x00280008, "Rows": 0x00280010, "Columns": 0x00280011, "PixelSpacing": 0x00280030,
    "PixelAspectRatio": 0x00280034, "BitsAllocated": 0x00280100, "BitsStored": 0x00280101, "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103, "PixelPaddingValue": 0x00280120, "PixelPaddingRangeLimit": 0x00280121,
    "BurnedInAnnotation": 0x00280301, "PixelSpacingCalibrationType": 0x00280A02,
    "WindowCenter": 0x00281050, "WindowWidth": 0x00281051, "RescaleIntercept": 0x00281052, "RescaleSlope": 0x00281053,
    "RescaleType": 0x00281054, "WindowCenterWidthExplanation": 0x00281055, "VOILUTFunction": 0x00281056,
    "Units": 0x00541001,
    "RedPaletteColorLookupTableDescriptor": 0x00281101, "GreenPaletteColorLookupTableDescriptor": 0x00281102,
    "BluePaletteColorLookupTableDescriptor": 0x00281103,
    "RedPaletteColorLookupTableData": 0x00281201, "GreenPaletteColorLookupTableData": 0x00281202,
    "BluePaletteColorLookupTableData": 0x00281203,
    "SegmentedRedPaletteColorLookupTableData": 0x00281221, "SegmentedGreenPaletteColorLookupTableData": 0x00281222,
    "SegmentedBluePaletteColorLookupTableData": 0x00281223,
    "LossyImageCompression": 0x00282110, "ModalityLUTSequence": 0x00283000, "LUTDescriptor": 0x00283002,
    "ModalityLUTType": 0x00283004, "LUTData": 0x00283006, "VOILUTSequence": 0x00283010,
    "PresentationLUTShape": 0x20500020,
    "SharedFunctionalGroupsSequence": 0x52009229, "PerFrameFunctionalGroupsSequence": 0x52009230,
    "MREchoSequence": 0x00189114, "MRDiffusionSequence": 0x00189117, "CardiacSynchronizationSequence": 0x00189118,
    "FrameContentSequence": 0x00209111, "PlanePositionSequence": 0x00209113, "PlaneOrientationSequence": 0x00209116,
    "PixelMeasuresSequence": 0x00289110, "FrameVOILUTSequence": 0x00289132,
    "PixelValueTransformationSequence": 0x00289145,
    "ExtendedOffsetTable": 0x7FE00001, "ExtendedOffsetTableLengths": 0x7FE00002,
}  # fmt: skip

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}


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
        return None if element is None else element.VR

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

    def has_group(self, keyword: str) -> bool:
        """Whether the sequence is present, empty or not."""
        return self.dataset.get_item(TAGS[keyword]) is not None

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
        "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "SliceThickness", "ImagePositionPatient",
        "ImageOrientationPatient", "EchoTime", "TriggerTime", "AcquisitionNumber", "TemporalPositionIdentifier",
    )
}  # fmt: skip


def _number(text: str) -> float:
    value = float(text)
    if "_" in text or value != value or value in (float("inf"), float("-inf")):
        raise ValueError(text)  # float() takes "1_0", "nan" and "inf"; DICOM's DS does not
    return value

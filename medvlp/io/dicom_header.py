"""The tags of a DICOM file that reading needs, converted from raw bytes.

Values come from the raw elements that pydicom finds: no name, identifier or free text is ever decoded, no library
warning can print one, and damaged values fail here, in one way.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from medvlp.io.errors import UnreadableImage

#: keyword -> tag, for all that reading looks at. Nothing else of a file is kept in memory.
TAGS: dict[str, int] = {
    name: tag
    for name in """
    ImageType SOPClassUID StudyDate StudyTime PatientID StudyInstanceUID AcquisitionDateTime AcquisitionTime Modality
    PresentationIntentType Manufacturer BodyPartExamined SliceThickness EchoTime TriggerTime ViewPosition
    EffectiveEchoTime DiffusionBValue SeriesInstanceUID AcquisitionNumber ImagePositionPatient ImageOrientationPatient
    FrameOfReferenceUID TemporalPositionIdentifier StackID TemporalPositionIndex NominalCardiacTriggerDelayTime
    ImagerPixelSpacing NominalScannedPixelSpacing PatientOrientation Laterality ImageLaterality SamplesPerPixel
    PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns PixelSpacing PixelAspectRatio
    BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit FloatPixelPaddingValue
    FloatPixelPaddingRangeLimit DoubleFloatPixelPaddingValue DoubleFloatPixelPaddingRangeLimit BurnedInAnnotation
    PixelSpacingCalibrationType WindowCenter WindowWidth RescaleIntercept RescaleSlope RescaleType
    WindowCenterWidthExplanation VOILUTFunction Units RedPaletteColorLookupTableDescriptor
    GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData
    GreenPaletteColorLookupTableData BluePaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData
    SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData LossyImageCompression
    ModalityLUTSequence LUTDescriptor ModalityLUTType LUTData VOILUTSequence PresentationLUTShape
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence MREchoSequence MRDiffusionSequence
    CardiacSynchronizationSequence FrameContentSequence PlanePositionSequence PlaneOrientationSequence
    PixelMeasuresSequence FrameVOILUTSequence PixelValueTransformationSequence ExtendedOffsetTable
    ExtendedOffsetTableLengths RecommendedDisplayFrameRate CineRate FrameTime InstanceNumber ComplexImageComponent
    DiffusionGradientOrientation DiffusionGradientDirectionSequence PixelPresentation FrameType MRImageFrameTypeSequence
    """.split()  # noqa: SIM905
    if (tag := tag_for_keyword(name)) is not None
}
_DECIMAL = {tag for tag in TAGS.values() if dictionary_VR(tag) in ("DS", "IS")}

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_TEXTUAL = ("DS", "IS", "LO", "SH", "CS", "UT", "ST", "LT")


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
        return b"" if element.value is None else element.value if isinstance(element.value, bytes) else None

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return the values of a text element, stripped; () if absent or empty."""
        text = (self.raw(keyword) or b"").decode("ascii", "replace").rstrip(" \0")
        return tuple(part.strip(" \0") for part in text.split("\\")) if text else ()

    def text(self, keyword: str) -> str | None:
        """Return the first value of a text element, or None."""
        return next(iter(self.texts(keyword)), None) or None

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
        vr = self.dataset.get_item(TAGS[keyword]).VR  # pyrefly: ignore[missing-attribute]  (raw() has found it)
        if vr in _TEXTUAL or (vr in (None, "UN") and TAGS[keyword] in _DECIMAL):
            return tuple(_number(text) for text in self.texts(keyword) if text)
        code = _BINARY.get(vr) or _BINARY.get(dictionary_VR(TAGS[keyword]), "h" if signed else "H")
        count = len(raw) // struct.calcsize(code)
        if count == 0:
            raise ValueError("too short")
        return struct.unpack(f"{self.order}{count}{code}", raw[: count * struct.calcsize(code)])

    def valid_numbers(self, keyword: str) -> tuple[float, ...]:
        """Return `numbers`, or () where the value is not numbers."""
        try:
            return self.numbers(keyword)
        except ValueError:
            return ()

    def integer(self, keyword: str, default: int | None = None, *, signed: bool = False) -> int:
        """Return the first value as an integer, or ``default`` if the tag is absent."""
        try:
            values = self.numbers(keyword, signed=signed)
        except ValueError:
            raise UnreadableImage("bad_header", detail=f"{keyword} is not a number") from None
        if not values:
            if default is None:
                raise UnreadableImage("bad_header", detail=f"{keyword} is missing")
            return default
        if values[0] != int(values[0]):
            raise UnreadableImage("bad_header", detail=f"{keyword} is {values[0]}, not a whole number")
        return int(values[0])

    def items(self, keyword: str) -> tuple[Header, ...]:
        """Return the items of a sequence; () if absent or empty."""
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


def _number(text: str) -> float:
    value = float(text)
    if "_" in text or value != value or value in (float("inf"), float("-inf")):
        raise ValueError(text)  # float() takes "1_0", "nan" and "inf"; DICOM's DS does not
    return value

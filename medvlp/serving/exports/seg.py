"""A mask or a heat map as a DICOM segmentation, on the source's own grid."""

from __future__ import annotations

from itertools import product

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medvlp import __version__
from medvlp.core.errors import DataError, UserError
from medvlp.serving.exports.codes import ABNORMAL, code_of
from medvlp.serving.exports.shown import BANNER, Finding, Shown, file_bytes

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def seg_bytes(shown: Shown) -> bytes:
    """Return a Segmentation (PS3.3 A.51): BINARY of a mask, FRACTIONAL of a heat map.

    A heat map's values are relative: the segment's label and description say that they are no probabilities.

    Raises:
        UserError: there is no layer, the source is no DICOM file, has several frames, or says nothing of its spacing.
    """
    header, layer = shown.header(), shown.layer
    if layer is None:
        raise UserError("No map or mask is shown, so there is none to write: show one first.")
    if int(header.get("NumberOfFrames", 1) or 1) > 1:
        raise UserError("A map of one frame of several is not written as a segmentation: export a capture or PNG.")
    binary = layer.values.dtype == bool
    what = "mask" if binary else "heat map, relative"
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=f"{layer.finding.replace('_', ' ')}, {what}"[:64],
        segmented_property_category=ABNORMAL,
        segmented_property_type=code_of(Finding(layer.finding, "uncalibrated")),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=shown.model[:64], family=codes.DCM.ArtificialIntelligence, version=shown.model_hash,
            parameters={"method": layer.method, "preset": shown.preset, "use": BANNER},
        ),
    )  # fmt: skip
    # Always: without them a radiograph (no frame of reference) gives a file that highdicom refuses to read.
    measures = hd.PixelMeasuresSequence(pixel_spacing=_spacing(header), slice_thickness=_thickness(header))
    if "SharedFunctionalGroupsSequence" not in header:  # highdicom asks them of XA and RF, whose classes have none
        header.NumberOfFrames, header.SharedFunctionalGroupsSequence = 1, [Dataset()]
        header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = measures
    segmentation = hd.seg.Segmentation(
        source_images=[header],
        pixel_array=layer.values if binary else np.clip(layer.values, 0, 1).astype(np.float64),
        segmentation_type="BINARY" if binary else "FRACTIONAL",
        segment_descriptions=[segment],
        series_instance_uid=hd.UID(), series_number=9002, sop_instance_uid=hd.UID(), instance_number=1,
        manufacturer="medvlp", manufacturer_model_name=shown.model[:64], software_versions=__version__,
        device_serial_number=shown.model_hash[:64],
        pixel_measures=measures,
        content_description=BANNER, content_label="MEDVLP", omit_empty_frames=False,
        series_description=f"medvlp {what}, research only",
    )  # fmt: skip
    return file_bytes(segmentation)


def _holders(header: Dataset) -> list[Dataset]:
    """Where an image's measures stand: in functional groups of an enhanced one, here of a single frame, else beside."""
    names = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
    groups = [group for name in names for group in header.get(name, ())]
    return [*(item for group in groups for item in group.get("PixelMeasuresSequence", ())), header]


def _spacing(header: Dataset) -> tuple[float, float]:
    """Rows, columns in mm; a radiograph's may be that at its detector."""
    for holder, keyword in product(_holders(header), _SPACINGS):
        value = holder.get(keyword)
        if value is not None and len(value) == 2 and min(float(each) for each in value) > 0:
            return float(value[0]), float(value[1])
    raise DataError("The picture's file says nothing of its pixel spacing, which a segmentation needs: export PNG.")


def _thickness(header: Dataset) -> float:
    """In mm; of a projection, which has none and no place in space, 1."""
    if found := next((holder for holder in _holders(header) if holder.get("SliceThickness")), None):
        return float(found.SliceThickness)
    if "FrameOfReferenceUID" in header and "ImagePositionPatient" in header:
        raise DataError(
            "The picture's file says nothing of its slice thickness, which a segmentation needs: export PNG."
        )
    return 1.0

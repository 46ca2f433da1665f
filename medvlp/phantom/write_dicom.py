"""One radiograph as a DICOM file, filed the way its device does it, and the same bytes every time.

Nothing in the file comes from a clock or a global counter: UIDs are 2.25 + a 128-bit number made from the cohort's seed
(PS3.5 B.2), times are a function of the study, and the writer's name is fixed.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels import get_encoder
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medvlp.core.files import write_bytes
from medvlp.core.randomness import numpy_generator, seed_of
from medvlp.phantom.facts import Study, View

if TYPE_CHECKING:
    from medvlp.phantom.devices import Convention, Scanner

_SYNTAXES: Final[dict[str, UID]] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
}
_PADDING_LIMIT: Final = 7


@dataclass(frozen=True, slots=True)
class Stored:
    """Stored values and the numbers that say how to show them.

    Attributes:
        pixels: uint16 (H, W).
        low: stored value that is the dark end of the detector's range (before polarity).
        high: stored value that is its bright end.
        padding: PixelPaddingValue or None.
    """

    pixels: np.ndarray
    low: int
    high: int
    padding: int | None


def uid_of(seed: int, *names: str) -> str:
    """Return the UID that belongs to a thing of a cohort, under the root 2.25 (a UUID as one number)."""
    digest = hashlib.blake2b("\x1f".join((str(seed), *names)).encode(), digest_size=16).digest()
    return f"2.25.{int.from_bytes(digest, 'little')}"


def study_uid(study: Study, seed: int) -> str:
    """Return the StudyInstanceUID of a study of the cohort with this seed."""
    return uid_of(seed, "study", study.id)


def curve_of(convention: Convention, value: np.ndarray) -> np.ndarray:
    """Return the brightness 0 to 1 that a device means to show for a detector value 0 to 1 (1 is bone).

    The inverse of nothing: the stored file carries the window or LUT that makes a standard display do this.
    """
    low, high = convention.window
    if convention.voi == "sigmoid":
        return 1.0 / (1.0 + np.exp(-4.0 * (value - (low + high) / 2) / (high - low)))
    straight = np.clip((value - low) / (high - low), 0.0, 1.0)
    # The LUT of a film-like device: a shoulder and a toe.
    return straight * straight * (3.0 - 2.0 * straight) * 0.6 + straight * 0.4 if convention.voi == "lut" else straight


def store(picture: np.ndarray, convention: Convention, generator: np.random.Generator) -> Stored:
    """Turn a detector's picture into stored values.

    Args:
        picture: uint16 (H, W), 0 to 65535, bone bright.
        convention: how the device files it.
        generator: draws how far the collimator reaches into the picture, where there is padding.
    """
    largest = 2**convention.bits - 1
    low, high = (round(fraction * largest) for fraction in convention.stored)
    pixels = np.rint(low + picture.astype(np.float64) * ((high - low) / 65535.0)).astype(np.uint16)
    if convention.photometric == "MONOCHROME1":
        pixels, low, high = (largest - pixels).astype(np.uint16), largest - high, largest - low
    if not convention.padding:
        return Stored(pixels, low, high, None)
    padding = largest if convention.padding == "high" else 0
    # Top, bottom, left, right: at most a fortieth of the picture.
    top, bottom, left, right = (int(n) for n in generator.integers(1, max(2, pixels.shape[0] // 40 + 1), 4))
    inside = np.zeros(pixels.shape, bool)
    inside[top : pixels.shape[0] - bottom, left : pixels.shape[1] - right] = True
    outside = np.full(pixels.shape, padding, np.uint16)
    if convention.padding == "range":
        outside = generator.integers(0, _PADDING_LIMIT + 1, pixels.shape).astype(np.uint16)
    return Stored(np.where(inside, pixels, outside), low, high, padding)


def write_radiograph(
    path: Path,
    picture: np.ndarray,
    *,
    study: Study,
    view: View,
    scanner: Scanner,
    spacing: tuple[float, float],
    magnification: float,
    age: int,
    seed: int,
) -> dict[str, str | int]:
    """Write one radiograph and return what it says of itself, by columns of the truth's table ``images``.

    Args:
        path: where.
        picture: uint16 (H, W) of the detector, bone bright.
        study: facts of the visit.
        view: of this picture.
        scanner: the device; its convention decides bits, polarity, window, padding and compression.
        spacing: (row, column) mm on the detector.
        magnification: of the middle of the chest on the detector.
        age: years at the study.
        seed: of the cohort; makes the UIDs.

    Raises:
        UserError: if the disk is full or the folder cannot be written; nothing half-written stays.
    """
    convention = scanner.convention
    stored = store(picture, convention, numpy_generator(seed, _serial(study), f"phantom.collimator.{view}"))
    dataset = _header(study, view, scanner, age=age, seed=seed)
    dataset.Rows, dataset.Columns = stored.pixels.shape
    # A side marker identifies nobody: YES would say that the pixels do (PS3.3 C.7.6.1).
    dataset.BurnedInAnnotation = "NO"
    _add_spacing(dataset, convention, spacing, magnification)
    _add_pixel_description(dataset, convention, stored)
    _add_display(dataset, convention, stored)
    syntax = _SYNTAXES[convention.syntax]
    data = stored.pixels.astype("<u2").tobytes()
    if syntax.is_compressed:
        frame = get_encoder(syntax).encode(
            data, rows=dataset.Rows, columns=dataset.Columns, samples_per_pixel=1, bits_allocated=16,
            bits_stored=convention.bits, pixel_representation=0, photometric_interpretation=convention.photometric,
            number_of_frames=1,
        )  # fmt: skip
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = data
        dataset["PixelData"].VR = "OW"
    dataset.file_meta = _meta(dataset, syntax)
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    write_bytes(path, buffer.getvalue())
    rows, columns = stored.pixels.shape
    return {
        "sop_uid": dataset.SOPInstanceUID,
        "rows": rows,
        "columns": columns,
        "photometric": convention.photometric,
        "transfer_syntax": str(syntax),
    }


def _serial(study: Study) -> int:
    return int(study.id[1:])


def _meta(dataset: Dataset, syntax: UID) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID(uid_of(0, "medvlp", "phantom"))
    meta.ImplementationVersionName = "MEDVLP_PHANTOM_1"
    return meta


def _header(study: Study, view: View, scanner: Scanner, *, age: int, seed: int) -> Dataset:
    """Patient, study, series, equipment: everything that is not about pixels."""
    convention, patient = scanner.convention, study.patient
    dx = convention.sop == "DX"
    minutes = seed_of(seed, _serial(study), "phantom.clock") % (24 * 60)
    number = study.views.index(view) + 1
    time = f"{minutes // 60:02d}{minutes % 60:02d}{2 * number:02d}"
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation if dx else ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = uid_of(seed, "image", study.id, view)
    dataset.StudyInstanceUID = study_uid(study, seed)
    dataset.SeriesInstanceUID = uid_of(seed, "series", study.id, view)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = study.date
    dataset.StudyTime = time[:4] + "00"
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = time
    dataset.AccessionNumber = study.accession
    dataset.Modality = "DX" if dx else "CR"
    dataset.Manufacturer = scanner.manufacturer
    dataset.ManufacturerModelName = scanner.model
    dataset.StationName = scanner.name
    dataset.SoftwareVersions = "1"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "CHEST PORTABLE" if view == "AP" else "CHEST"
    dataset.SeriesDescription = f"CHEST {view}"
    dataset.PatientName = f"SYNTHETIC^{patient.id}"
    dataset.PatientID = patient.id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = patient.sex
    dataset.PatientAge = f"{age:03d}Y"
    dataset.PatientSize = f"{patient.height / 100:.3f}"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "SYNTHETIC: NO PERSON STANDS BEHIND THIS IMAGE"
    dataset.StudyID = study.id
    dataset.SeriesNumber = number
    dataset.InstanceNumber = 1
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = convention.lateral if view == "LATERAL" else view
    # PS3.3 C.7.6.1.1.1: where rows and columns run to; on a left lateral the patient looks to the viewer's left.
    dataset.PatientOrientation = ["P", "F"] if view == "LATERAL" else ["L", "F"]
    dataset.KVP = "90" if view == "AP" else "120"
    dataset.LossyImageCompression = "00"
    if dx:
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.ImageLaterality = "U"
        dataset.DetectorType = "SCINTILLATOR"
        dataset.PositionerType = "NONE" if view == "AP" else "COLUMN"
        dataset.AcquisitionContextSequence = []
        dataset.AnatomicRegionSequence = [_code("816094009", "SCT", "Chest")]
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _add_spacing(dataset: Dataset, convention: Convention, spacing: tuple[float, float], magnification: float) -> None:
    detector = [f"{value:.6g}" for value in spacing]
    if convention.spacing != "pixel":
        dataset.ImagerPixelSpacing = detector
    if convention.spacing == "pixel":
        dataset.PixelSpacing = detector
    elif convention.spacing == "calibrated":
        dataset.PixelSpacing = [f"{value / magnification:.6g}" for value in spacing]
        dataset.PixelSpacingCalibrationType = "GEOMETRY"
        dataset.PixelSpacingCalibrationDescription = "middle of the chest"
        dataset.EstimatedRadiographicMagnificationFactor = f"{magnification:.4f}"


def _add_pixel_description(dataset: Dataset, convention: Convention, stored: Stored) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = convention.photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, convention.bits, convention.bits - 1
    dataset.PixelRepresentation = 0
    if stored.padding is not None:
        dataset.PixelPaddingValue = stored.padding
        dataset["PixelPaddingValue"].VR = "US"
        if convention.padding == "range":
            dataset.PixelPaddingRangeLimit = _PADDING_LIMIT
            dataset["PixelPaddingRangeLimit"].VR = "US"
    inverse = convention.photometric == "MONOCHROME1"
    if convention.sop == "DX":
        dataset.PixelIntensityRelationship = "LOG"
        # -1: more X-rays make a smaller value, as where bone is bright in the stored values (PS3.3 C.8.11.3.1.2).
        dataset.PixelIntensityRelationshipSign = 1 if inverse else -1
        dataset.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"


def _add_display(dataset: Dataset, convention: Convention, stored: Stored) -> None:
    """Modality rescale and values of interest: what a standard display needs to show the meant picture."""
    slope, intercept = convention.rescale or (1.0, 0.0)
    if convention.rescale or convention.sop == "DX":
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = f"{slope:g}", f"{intercept:g}", "US"
    if convention.voi == "none":
        return
    if convention.voi == "lut":
        dataset.VOILUTSequence = [_lut(convention, stored)]
        return
    span = stored.high - stored.low
    dark, bright = convention.window
    if convention.photometric == "MONOCHROME1":  # the stored axis runs the other way
        dark, bright = 1.0 - bright, 1.0 - dark
    low = slope * (stored.low + dark * span) + intercept
    high = slope * (stored.low + bright * span) + intercept
    windows = [_window(low, high, exact=convention.voi in ("linear_exact", "sigmoid"))]
    if convention.voi == "several":
        windows += [_window(low + 0.25 * (high - low), high, exact=False), _window(low, 2 * high - low, exact=False)]
        dataset.WindowCenterWidthExplanation = ["NORMAL", "HARDER", "SOFTER"]
    dataset.WindowCenter = [f"{centre:.6g}" for centre, _ in windows]
    dataset.WindowWidth = [f"{width:.6g}" for _, width in windows]
    if convention.voi in ("linear_exact", "sigmoid"):
        dataset.VOILUTFunction = convention.voi.upper()


def _window(low: float, high: float, *, exact: bool) -> tuple[float, float]:
    """Centre and width whose ends are low and high (PS3.3 C.11.2.1.2.1 for LINEAR, .3 for LINEAR_EXACT)."""
    return ((low + high) / 2, high - low) if exact else ((low + high) / 2 + 0.5, high - low + 1)


def _lut(convention: Convention, stored: Stored) -> Dataset:
    """A VOI LUT over the detector's range: 16-bit entries, one a stored value; beyond it the ends are used."""
    values = np.arange(stored.low, stored.high + 1)
    detector = (values - stored.low) / (stored.high - stored.low)
    if convention.photometric == "MONOCHROME1":
        shown = 1.0 - curve_of(convention, 1.0 - detector)
    else:
        shown = curve_of(convention, detector)
    item = Dataset()
    entries = np.rint(shown * 65535).astype("<u2")
    item.add_new("LUTDescriptor", "US", [len(entries) % 65536, stored.low, 16])
    item.LUTExplanation = "FILM"
    item.add_new("LUTData", "OW", entries.tobytes())
    return item

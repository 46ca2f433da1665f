"""Pictures with what a model may say of them: a synthetic radiograph and a slice of a CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medvlp.phantom.devices import SCANNERS
from medvlp.serving.exports.shown import Finding, Layer, Shown
from tests.phantom.test_write_dicom import write

HASH = "0123456789abcdef" * 4
FINDINGS = (
    Finding("effusion", "present", 0.43, 0.3, "0.43, twice its base rate, above its threshold 0.30", "left"),
    Finding("rib_fracture", "absent", 0.02, 0.15, "0.02, near its base rate"),
    Finding("pneumothorax", "uncalibrated"),
)


def radiograph(folder: Path, scanner: int = 0) -> Path:
    """A synthetic radiograph of 96 x 96 pixels."""
    write(folder / "radiograph.dcm", SCANNERS[scanner])
    return folder / "radiograph.dcm"


def ct_slice(folder: Path) -> Path:
    """One slice of 40 rows and 50 columns, tilted, with all that a CT Image must have (PS3.3 A.3)."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, "2.25.11"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "2.25.12", "2.25.13", "2.25.14"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Doe^Jane", "4711", "", "F"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "20240102", "", "", "", ""
    ds.Modality, ds.Manufacturer, ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = "CT", "m", 1, 1, 1
    ds.ImageType, ds.PositionReferenceIndicator, ds.PatientPosition = ["ORIGINAL", "PRIMARY", "AXIAL"], "", "HFS"
    ds.PixelSpacing, ds.SliceThickness, ds.KVP = [0.8, 0.5], 2.5, None
    ds.ImagePositionPatient = [-12.5, -20.25, 33.0]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0.8, -0.6]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Rows, ds.Columns = 1, "MONOCHROME2", 40, 50
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
    ds.PixelData = np.arange(2000, dtype="<u2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(folder / "ct.dcm", ds, enforce_file_format=True)
    return folder / "ct.dcm"


def heat(rows: int, columns: int) -> np.ndarray:
    """A bump in [0, 1], of no symmetry."""
    y, x = np.mgrid[:rows, :columns]
    return np.exp(-((x - 0.3 * columns) ** 2 / columns + (y - 0.6 * rows) ** 2 / (3 * rows)) / 4)


def shown(path: Path, *, mask: bool = False, findings: tuple[Finding, ...] = FINDINGS) -> Shown:
    """What a reader sees of a file; the source is its header alone, as a server keeps it."""
    pixels = dcmread(path).pixel_array.astype(float)
    rows, columns = pixels.shape
    layer = heat(rows, columns)
    return Shown(
        pixels=np.rint(255 * pixels / pixels.max()).astype(np.uint8),
        findings=findings,
        model="quickstart",
        model_hash=HASH,
        preset="dicom_voi_v1",
        operating_point="youden",
        source=dcmread(path, stop_before_pixels=True),
        layer=Layer("effusion", layer > 0.5 if mask else layer, "occlusion 14 x 14"),
    )

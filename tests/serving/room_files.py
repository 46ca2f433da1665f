"""Files for the reading room: pictures with a marker planted on the patient's left, and one full of identifiers."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CR, CT, MR = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in (1, 2, 4))
SECRETS = (
    "DOE^JANE",
    "MRN12345",
    "ACC777",
    "19610203",
    "Dr^Who",
    "Saint Elsewhere",
    "Scanner-Room-9",
    "secret comment",
)


def dataset(sop: str, modality: str, pixels: np.ndarray, **tags: object) -> pydicom.Dataset:
    """A plain DICOM data set of one frame, full of identifiers."""
    made = pydicom.Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = sop
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    name, mrn, accession, born, doctor, hospital, room, comment = SECRETS
    made.PatientName, made.PatientID, made.AccessionNumber, made.PatientBirthDate = name, mrn, accession, born
    made.ReferringPhysicianName, made.InstitutionName, made.StationName = doctor, hospital, room
    made.StudyDescription = made.ImageComments = comment
    made.Modality, made.StudyInstanceUID, made.SeriesInstanceUID = modality, generate_uid(), generate_uid()
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def film(path: Path, pixels: np.ndarray | None = None, **tags: object) -> Path:
    """A chest film of 300 x 200 whose bright square lies on the patient's left, at the feet."""
    if pixels is None:
        pixels = np.full((300, 200), 100, np.uint16)
        pixels[240:280, 150:190] = 4000
    usual = {"BodyPartExamined": "CHEST", "ViewPosition": "PA", "PatientOrientation": ["L", "F"], "BitsStored": 12}
    made = dataset(CR, "CR", pixels, **{**usual, "HighBit": 11, "PixelSpacing": [0.5, 0.5], **tags})
    made.save_as(path, enforce_file_format=True)
    return path


def ct_slices(folder: Path, *, axial_rows_to_left: bool = True, moved: tuple[float, float] = (0, 0)) -> Path:
    """A CT of 20 slices whose one bright block lies left, behind and at the head of the patient.

    ``moved`` says by how many mm each slice lies further left and behind than the one below: a tilt.
    """
    folder.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(20):
        pixels = np.full((40, 48), 24, np.int16)  # with the intercept: -1000
        if k >= 15:
            pixels[30:38, 36:46] = 3024
        turned = pixels if axial_rows_to_left else pixels[:, ::-1]
        place = [(0 if axial_rows_to_left else 94) + moved[0] * k, moved[1] * k, 3 * k]
        across = [1, 0, 0, 0, 1, 0] if axial_rows_to_left else [-1, 0, 0, 0, 1, 0]
        made = dataset(
            CT, "CT", np.ascontiguousarray(turned), ImageOrientationPatient=across, PixelSpacing=[2, 2],
            ImagePositionPatient=place, SliceThickness=3, RescaleSlope=1,
            RescaleIntercept=-1024, RescaleType="HU", SeriesInstanceUID=series, StudyInstanceUID=study,
            FrameOfReferenceUID=frame, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        )  # fmt: skip
        made.save_as(folder / f"{19 - k}.dcm", enforce_file_format=True)
    return folder


def leafed(folder: Path, *, modality: str = "US") -> list[Path]:
    """Three files of one series that have no place in space, each brighter than the one before."""
    tags = {"Modality": modality, "SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    ramp = np.arange(300 * 200, dtype=np.uint16).reshape(300, 200) // 60
    return [film(folder / f"leaf-{n}", ramp + 500 * n, **tags) for n in range(3)]


def mr_volumes(folder: Path, count: int) -> Path:
    """An MR series of so many volumes of three slices, one after the other in time."""
    folder.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for time in range(count):
        for k in range(3):
            made = dataset(
                MR, "MR", np.full((16, 16), 10 * time + k, np.int16), ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                ImagePositionPatient=[0, 0, 3 * k], PixelSpacing=[2, 2], SliceThickness=3, SeriesInstanceUID=series,
                StudyInstanceUID=study, FrameOfReferenceUID=frame, TemporalPositionIdentifier=time + 1,
                ImageType=["ORIGINAL", "PRIMARY", "M"],
            )  # fmt: skip
            made.save_as(folder / f"{time:02d}-{k}.dcm", enforce_file_format=True)
    return folder


def nifti(path: Path, *, to_left: bool) -> Path:
    """The same CT as NIfTI, x running to the patient's left or right."""
    voxels = np.full((48, 40, 20), -1000, np.int16)  # i to the left, j to the back, k to the head
    voxels[36:46, 30:38, 15:] = 2000
    matrix = np.diag([-2.0, -2.0, 3.0, 1.0])
    if not to_left:
        voxels, matrix = voxels[::-1], np.diag([2.0, -2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(voxels), matrix), path)
    return path

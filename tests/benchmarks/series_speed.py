"""Milliseconds to read a folder of CT slices, all checks of geometry included, over MONAI's PydicomReader.

python tests/benchmarks/series_speed.py
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _report import interleaved_ms, print_report
from monai.data.image_reader import PydicomReader
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medvlp.io import read_volume

#: What a scanner writes beside the attributes that reading needs: a header of usual length.
USUAL = {
    "PatientName": "A^B", "PatientID": "1", "PatientBirthDate": "19500101", "PatientSex": "F", "PatientAge": "070Y",
    "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.5", "FrameOfReferenceUID": "1.2.7", "StudyDate": "20200101",
    "SeriesDate": "20200101", "AcquisitionDate": "20200101", "ContentDate": "20200101", "StudyTime": "101010",
    "AcquisitionTime": "101010", "ContentTime": "101010", "AccessionNumber": "12", "Manufacturer": "M", "KVP": 120,
    "InstitutionName": "H", "StudyDescription": "CHEST", "SeriesDescription": "AX", "BodyPartExamined": "CHEST",
    "ConvolutionKernel": "B30f", "PatientPosition": "HFS", "SeriesNumber": 2, "AcquisitionNumber": 1,
    "ExposureTime": 500, "XRayTubeCurrent": 200, "Exposure": 100, "GantryDetectorTilt": 0, "TableHeight": 150,
    "RotationDirection": "CW", "StudyID": "1", "SoftwareVersions": "1", "StationName": "S", "SliceThickness": 2,
    "ManufacturerModelName": "M", "ReferringPhysicianName": "R", "WindowCenter": 40, "WindowWidth": 400,
}  # fmt: skip


def write_slice(path: Path, number: int, size: int, chance: np.random.Generator) -> None:
    """Write one uncompressed slice of 12 bits."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = CTImageStorage, meta.MediaStorageSOPInstanceUID, "CT"
    for keyword, value in USUAL.items():
        setattr(data, keyword, value)
    data.ImageType, data.InstanceNumber, data.SliceLocation = ["ORIGINAL", "PRIMARY", "AXIAL"], number + 1, 2.0 * number
    data.ImagePositionPatient, data.ImageOrientationPatient = [-180, -180, 2.0 * number - 120], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.RescaleSlope, data.RescaleIntercept = [0.7, 0.7], 1, -1024
    data.SamplesPerPixel, data.PhotometricInterpretation, data.Rows, data.Columns = 1, "MONOCHROME2", size, size
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = chance.integers(0, 4096, (size, size)).astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)


def monai(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels ``(x, y, z)`` and the RAS affine of MONAI."""
    reader = PydicomReader()
    voxels, meta = reader.get_data(reader.read(str(folder)))
    return voxels, meta["affine"]


def main() -> None:
    """Assert that both read the same, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    chance = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(arguments.slices):
            write_slice(folder / f"{(37 * number) % 997:03d}.dcm", number, arguments.size, chance)
        ours, (voxels, affine) = read_volume(folder), monai(folder)
        assert np.array_equal(ours.voxels, voxels.transpose(2, 1, 0))
        assert np.allclose(ours.affine.matrix, affine, rtol=0, atol=1e-9)
        assert ours.warnings == ()
        del ours, voxels
        works = {"medvlp": lambda: read_volume(folder), "monai": lambda: monai(folder)}
        median = interleaved_ms(works, repeats=arguments.repeats)
    print_report(
        "series_speed", n={"slices": arguments.slices, "rows": arguments.size, "columns": arguments.size},
        packages=("numpy", "pydicom", "monai"), unit="ms", median=median,
        ratio=round(median["medvlp"] / median["monai"], 3),
    )  # fmt: skip


if __name__ == "__main__":
    main()

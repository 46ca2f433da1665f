"""Time to read and resize images: median milliseconds on one thread, as one JSON line.

python tests/benchmarks/read_images.py
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from medvlp.io import Image, read_image, resize_pad, write_png


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Return the median of ``repeats`` runs after a first one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(1000 * statistics.median(times), 3)


def small_radiograph(path: Path) -> None:
    """Write 256 x 256 pixels of 12 bits with a window and some forty tags."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = meta.MediaStorageSOPClassUID, "1.2.3", "DX"
    data.PatientName, data.PatientID, data.AccessionNumber, data.StudyInstanceUID = "A^B", "1", "2", "1.2"
    data.ViewPosition, data.BodyPartExamined, data.PatientOrientation = "PA", "CHEST", ["L", "F"]
    data.ImagerPixelSpacing, data.PixelSpacing = [1.4, 1.4], [1.4, 1.4]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.Rows, data.Columns = 1, "MONOCHROME1", 256, 256
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.WindowCenter, data.WindowWidth, data.RescaleSlope, data.RescaleIntercept = 2000, 3500, 1, 0
    data.PixelData = np.random.default_rng(0).integers(0, 4096, (256, 256)).astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)


def main() -> None:
    """Measure and print."""
    numbers = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        small, picture = Path(folder, "small.dcm"), Path(folder, "picture.png")
        small_radiograph(small)
        write_png(Image(numbers.random((1024, 1024), np.float32)), picture)
        results = {
            "dicom_256_uncompressed": median_ms(lambda: read_image(small), 300),
            "png_1024_8bit": median_ms(lambda: read_image(picture), 20),
        }
        chest = get_testdata_file("RG1_UNCR.dcm", download=False)
        if chest:
            results["dicom_1955x1841_uncompressed"] = median_ms(lambda: read_image(chest), 10)
    for rows, columns, size in ((256, 256, 128), (1024, 1024, 224), (1955, 1841, 224)):
        pixels = numbers.random((rows, columns), np.float32)
        results[f"resize_{rows}x{columns}_to_{size}"] = median_ms(lambda p=pixels, s=size: resize_pad(p, s), 50)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "pydicom": pydicom.__version__}
    print(json.dumps({"unit": "ms", "median": results, "versions": versions, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()

"""What decoding in a helper process costs: radiographs of 2.1 megapixels, with it and without, results equal first.

OMP_NUM_THREADS=1 python tests/benchmarks/helper_cost.py --files 200
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

os.environ.setdefault("OMP_NUM_THREADS", "1")

import imagecodecs
import jpeg_ls
import numpy as np
from _report import print_report
from openjpeg.utils import encode_array
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation

from medvlp.io import dicom_frames, raster, read_image
from medvlp.io.sandbox.client import Decoded
from medvlp.io.sandbox.client import decode as by_helper
from medvlp.io.sandbox.helper import JOBS

ROWS, COLUMNS = 1536, 1400
_FILMS = 7  # no divisor of the number of codecs: each codec meets each film


def rle(pixels: np.ndarray) -> bytes:
    """Encode one frame as RLE Lossless (PS3.5 annex G): high bytes, then low bytes, row by row."""
    planes = (pixels >> 8).astype(np.uint8), (pixels & 255).astype(np.uint8)
    segments = [b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in plane) for plane in planes]
    segments = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    return struct.pack("<16I", 2, 64, 64 + len(segments[0]), *[0] * 13) + b"".join(segments)


ENCODERS: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "jpeg_2000": ("1.2.840.10008.1.2.4.90", lambda a: bytes(encode_array(a, bits_stored=12, use_mct=False))),
    "jpeg_ls": ("1.2.840.10008.1.2.4.80", lambda a: bytes(jpeg_ls.encode_array(a))),
    "jpeg_lossless": ("1.2.840.10008.1.2.4.70", lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12)),
    "rle": ("1.2.840.10008.1.2.5", rle),
}
#: pictures that cohorts are published in; they are told apart from the DICOM files in the result
PICTURES: dict[str, Callable[[np.ndarray], bytes]] = {
    "png_8": lambda a: imagecodecs.png_encode((a >> 4).astype(np.uint8)),
    "jpeg_8": lambda a: imagecodecs.jpeg8_encode((a >> 4).astype(np.uint8), level=95),
}


def radiograph(numbers: np.random.Generator) -> np.ndarray:
    """Make something with the entropy of a chest film: smooth shadows and the noise of 12 bits."""
    y, x = np.mgrid[:ROWS, :COLUMNS] / 700.0
    shadow = 2000 + 900 * np.sin(2 * x + numbers.random()) * np.cos(3 * y) + 300 * np.sin(11 * x)
    return np.clip(shadow + numbers.normal(0, 12, shadow.shape), 0, 4095).astype(np.uint16)


def write(path: Path, pixels: np.ndarray, codec: str) -> None:
    """Write a compressed DX file, or a picture."""
    if codec in PICTURES:
        path.write_bytes(PICTURES[codec](pixels))
        return
    syntax, encode = ENCODERS[codec]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = meta.MediaStorageSOPClassUID, "1.2.3", "DX"
    data.SamplesPerPixel, data.PhotometricInterpretation, data.Rows, data.Columns = 1, "MONOCHROME2", ROWS, COLUMNS
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.WindowCenter, data.WindowWidth, data.PixelSpacing = 2000, 3500, [0.2, 0.2]
    data.PixelData = encapsulate([encode(pixels)])
    data["PixelData"].is_undefined_length = True
    data.save_as(path, enforce_file_format=True)


def in_this_process(job: str, source: bytes | BinaryIO, arguments: Mapping[str, object], **_: object) -> Decoded:
    """Do what the helper does, here."""
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    return Decoded(*JOBS[job](stream, -1, **arguments))


def seconds_of(path: Path, decode: Callable[..., Decoded]) -> tuple[float, np.ndarray]:
    """Return wall clock seconds of reading a file, and its pixels."""
    dicom_frames.decode = raster.decode = decode
    start = time.perf_counter()
    pixels = read_image(path).pixels
    return time.perf_counter() - start, pixels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    numbers, codecs = np.random.default_rng(0), [*ENCODERS, *PICTURES]
    ways = {"helper": by_helper, "here": in_this_process}
    spent: dict[str, dict[str, list[float]]] = {codec: {way: [] for way in ways} for codec in codecs}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.dcm")
        films = [radiograph(numbers) for _ in range(_FILMS)]  # making one takes longer than reading it
        for number in range(options.files + len(codecs)):
            codec = codecs[number % len(codecs)]
            if number % 10 == 0:
                print(f"{number} of {options.files + len(codecs)} files", file=sys.stderr, flush=True)
            write(path, films[number % _FILMS], codec)
            for _ in range(options.repeats):
                found = {way: seconds_of(path, decode) for way, decode in ways.items()}
                assert (found["helper"][1] == found["here"][1]).all()
                if number >= len(codecs):  # the first of each loads its codec
                    for way in ways:
                        spent[codec][way].append(found[way][0])
    medians = {c: {w: round(1000 * statistics.median(t), 2) for w, t in both.items()} for c, both in spent.items()}
    total = {way: sum(statistics.median(spent[codec][way]) for codec in ENCODERS) for way in ways}
    print_report(
        "helper_cost",
        n={"files": options.files, "rows": ROWS, "columns": COLUMNS},
        packages=("pydicom", "imagecodecs", "pylibjpeg-openjpeg", "pyjpegls"),
        read_ms=medians,
        best_ms={c: {w: round(1000 * min(t), 2) for w, t in both.items()} for c, both in spent.items()},
        ratio={c: round(both["helper"] / both["here"], 3) for c, both in medians.items()},
        ratio_dicom=round(total["helper"] / total["here"], 3),
    )


if __name__ == "__main__":
    main()

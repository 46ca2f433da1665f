"""Milliseconds from a chest file to a 512-pixel float tensor, over torchxrayvision's documented path.

Ours: ``read_image``, ``resize_pad``. Theirs: ``utils.load_image``, ``XRayCenterCrop``, ``XRayResizer`` (scikit-image by
default; OpenCV where installed). The pixels before resizing are asserted equal. After it they differ by definition:
theirs crops the longer side, ours fits all of it on black; theirs blurs by a Gaussian, ours takes the mean of the area.
So ours of the cropped picture is asserted within 2 % of theirs, away from the edge.

OMP_NUM_THREADS=1 python tests/benchmarks/chest_speed.py
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torchxrayvision as xrv
from _report import interleaved, medians, over, print_report
from helper_cost import in_this_process
from PIL import Image as Pillow

from medvlp.io import raster, read_image, resize_pad
from medvlp.io.sandbox.client import decode as by_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the writer is that of the tests, which are not installed

from tests.io.conftest import dicom_writer

SIZE = 512


def scene(rows: int, columns: int) -> np.ndarray:
    """Return shadows with some noise, (rows, columns) of 12 bits, 0 and 4095 among them."""
    numbers = np.random.default_rng(0)
    y, x = np.mgrid[:rows, :columns] / 700.0
    shadow = 2000 + 900 * np.sin(2 * x) * np.cos(3 * y) + 300 * np.sin(11 * x)
    film = np.clip(shadow + numbers.normal(0, 12, shadow.shape), 0, 4095).astype(np.uint16)
    film[0, 0], film[0, 1] = 0, 4095  # so that full range is the range of 12 bits, as theirs has it
    return film


def write_files(folder: Path) -> dict[str, Path]:
    """Write an uncompressed DX of 12 bits and a PNG of 8."""
    twelve = {0x00280101: ("US", 12), 0x00280102: ("US", 11)}
    dicom = dicom_writer(folder)(scene(2500, 2048), twelve).rename(folder / "chest.dcm")
    png = folder / "chest.png"
    Pillow.fromarray((scene(1024, 1024) >> 4).astype(np.uint8)).save(png)
    return {"dicom_2500x2048_12bit": dicom, "png_1024_8bit": png}


def ours(path: Path) -> torch.Tensor:
    """Ours, by the helper process where the file is compressed."""
    return torch.from_numpy(resize_pad(read_image(path).pixels, SIZE).pixels)


def ours_here(path: Path) -> torch.Tensor:
    """Ours, decoded in this process: what the helper costs shows."""
    raster.decode = in_this_process
    try:
        return ours(path)
    finally:
        raster.decode = by_helper


def theirs(path: Path, engine: str) -> torch.Tensor:
    """Return what torchxrayvision's models are given, (1, 512, 512) in [-1024, 1024]."""
    image = xrv.datasets.XRayCenterCrop()(xrv.utils.load_image(str(path)))
    return torch.from_numpy(xrv.datasets.XRayResizer(SIZE, engine=engine)(image))


def compare(path: Path, engine: str) -> None:
    """Assert that both read the same picture and that resizing it alike looks alike."""
    whole = xrv.utils.load_image(str(path))
    assert np.abs(read_image(path).pixels - (whole[0] / 1024 + 1) / 2).max() < 1e-6
    cropped = (xrv.datasets.XRayCenterCrop()(whole)[0] / 1024 + 1) / 2
    mine, other = resize_pad(cropped, SIZE).pixels, (theirs(path, engine)[0].numpy() / 1024 + 1) / 2
    assert np.abs(mine - other)[8:-8, 8:-8].max() < 0.02


def measure(path: Path, engines: list[str], repeats: int) -> dict[str, object]:
    """Return medians and their ratios."""
    works: dict[str, Callable[[], object]] = {"medvlp": lambda: ours(path)}
    if path.suffix == ".png":
        works["medvlp_without_helper"] = lambda: ours_here(path)
    for engine in engines:
        compare(path, engine)
        works[f"torchxrayvision_{engine}"] = lambda engine=engine: theirs(path, engine)
    times = interleaved(works, repeats=repeats)
    mine = [name for name in times if name.startswith("medvlp")]
    ratio = {f"{n}/{engine}": over(times, n, f"torchxrayvision_{engine}") for n in mine for engine in engines}
    return {"median": medians(times), "ratio": ratio}


def main() -> None:
    """Write, compare, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    engines = ["skimage", *(["cv2"] if importlib.util.find_spec("cv2") else [])]
    torch.set_num_threads(1)
    packages = ("numpy", "pydicom", "torchxrayvision", "scikit-image")
    packages += ("opencv-python-headless",) if "cv2" in engines else ()
    with tempfile.TemporaryDirectory() as folder:
        results = {name: measure(path, engines, options.repeats) for name, path in write_files(Path(folder)).items()}
    print_report("chest_speed", n={"repeats": options.repeats, "size": SIZE}, packages=packages, unit="ms", **results)


if __name__ == "__main__":
    main()

"""Seconds from the drop of a study to its first picture, to the model's findings, and to a whole volume, in a browser.

    OMP_NUM_THREADS=1 python tests/benchmarks/reading_room_speed.py runs/quickstart/run/bundle

Medians of five pages, each of its own session, on Debian's Chromium without a GPU (playwright): a radiograph of
2,500 x 3,000 pixels uncompressed and as JPEG 2000, and a CT of 512 x 512 x 300 as single slices. The window drag is the
time a frame takes in the page, its 95th percentile over sixty moves. Files are made in a temporary folder: the
radiograph is a synthetic patient's, enlarged and with noise, which compresses as badly as a film does and which the
bundle's gate lets in. No time is asserted: times are of the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _report import print_report
from PIL import Image
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, generate_uid

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import medvlp  # noqa: E402
from medvlp.phantom.cohort import make_cohort  # noqa: E402
from medvlp.serving.launch import Options, open_room  # noqa: E402
from medvlp.serving.reader import Reader  # noqa: E402
from tests.serving.browsing import CHROMIUM, FLAGS  # noqa: E402
from tests.serving.room_files import CT, dataset, film  # noqa: E402

TIMES = 5
_FRAMES = """async (moves) => {
  const pane = document.querySelector('.pane canvas'), box = pane.getBoundingClientRect(), took = [];
  const send = (type, x) => pane.dispatchEvent(new PointerEvent(type, { bubbles: true, pointerId: 1, button: 0,
    buttons: 1, clientX: box.left + 200 + x, clientY: box.top + 200 }));
  send('pointerdown', 0);
  for (let k = 1; k <= moves; k += 1) {
    const begin = performance.now();
    send('pointermove', 3 * k);
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    took.push(performance.now() - begin);
  }
  send('pointerup', 3 * moves);
  return took;
}"""


def radiograph(path: Path, *, compressed: bool) -> Path:
    """Write a film of 3,000 rows and 2,500 columns."""
    with tempfile.TemporaryDirectory() as made:
        root = make_cohort(Path(made, "hospital"), patients=1, image_size=1024, workers=1).root
        small = dcmread(next(iter(sorted(root.rglob("PA.dcm")))))
    values = small.pixel_array.astype(np.float32)
    large = np.asarray(Image.fromarray(values).resize((2500, 3000), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(0).normal(0, 0.002 * float(np.ptp(values)), large.shape)
    pixels = (large + noise).clip(0, 2**small.BitsStored - 1).astype(np.uint16)
    words = (
        "PhotometricInterpretation", "WindowCenter", "WindowWidth", "VOILUTFunction", "BitsStored", "HighBit",
        "ViewPosition", "PixelIntensityRelationship", "PixelIntensityRelationshipSign", "PresentationLUTShape",
        "RescaleSlope", "RescaleIntercept",
    )  # fmt: skip
    film(path, pixels, **{word: small[word].value for word in words if word in small})
    if compressed:
        made = dcmread(path)
        made.compress(JPEG2000Lossless)
        made.save_as(path)
    return path


def slices(folder: Path) -> list[Path]:
    """Write 300 slices of 512 x 512."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    plain = np.linspace(0, 2000, 512)[None] + rng.normal(0, 30, (512, 512))
    for k in range(300):
        made = dataset(
            CT, "CT", np.roll(plain, k, axis=0).astype(np.int16), ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[0.7, 0.7], ImagePositionPatient=[0, 0, k], SliceThickness=1, RescaleSlope=1,
            RescaleIntercept=-1024, RescaleType="HU", SeriesInstanceUID=series, StudyInstanceUID=study,
            FrameOfReferenceUID=frame, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        )  # fmt: skip
        made.save_as(folder / f"{k:03}.dcm", enforce_file_format=True)
    return sorted(folder.iterdir())


def opened(browser: Any, url: str, files: list[Path], *, findings: bool, volume: bool) -> dict[str, float]:
    """Drop files on a fresh page and return the seconds until each thing is there."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    page.goto(url)
    page.locator("body[data-state=ready]").wait_for()
    begin, took = time.perf_counter(), {}
    page.locator("#files").set_input_files([str(file) for file in files])
    page.locator(".pane[data-state=painted]").first.wait_for(timeout=120_000)
    took["first_picture"] = time.perf_counter() - begin
    if findings:
        page.locator("body[data-findings=told]").wait_for(timeout=120_000)
        assert page.locator(".finding .words").count()  # scored, not held back
        took["findings_after_it"] = time.perf_counter() - begin - took["first_picture"]
        took["window_frame_p95"] = float(np.percentile(page.evaluate(_FRAMES, 60), 95)) / 1000
    if volume:
        page.locator(f".pane[data-count='{len(files)}'][data-loading='']").first.wait_for(timeout=120_000)
        took["all_slices"] = time.perf_counter() - begin
    context.close()
    return took


def main() -> None:
    """Print one line: medians, and the largest of the five."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("--only", nargs="+", default=["radiograph", "radiograph_jpeg2000", "ct_300_slices"])
    chosen = arguments.parse_args()
    from playwright.sync_api import sync_playwright

    room = open_room(Options(port=0, samples=False), readers=(Reader(medvlp.load(chosen.bundle)),))
    with tempfile.TemporaryDirectory() as made, sync_playwright() as driver:
        folder = Path(made)
        studies = {
            "radiograph": ([radiograph(folder / "raw.dcm", compressed=False)], True, False),
            "radiograph_jpeg2000": ([radiograph(folder / "j2k.dcm", compressed=True)], True, False),
            "ct_300_slices": (slices(folder / "ct"), False, True),
        }
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        found: dict[str, dict[str, list[float]]] = {}
        for name in chosen.only:
            files, findings, volume = studies[name]
            rounds = [opened(browser, room.url, files, findings=findings, volume=volume) for _ in range(TIMES)]
            found[name] = {
                what: [round(statistics.median(values), 3), round(max(values), 3)]
                for what in rounds[0]
                for values in [[each[what] for each in rounds]]
            }
        browser.close()
    room.close()
    print_report("reading_room_speed", n=TIMES, packages=("gradio", "playwright"), median_and_largest_seconds=found)


if __name__ == "__main__":
    main()

"""Text burned into 400 radiographs: how much of it is found, how much else is painted over; one JSON line.

    medvlp phantom runs/films --patients 60 --image-size 1024 --seed 3
    python tests/benchmarks/burned_in_text.py runs/films [--pictures 400] [--real FOLDER ...]

Films of a synthetic hospital, as its devices store them, get 1 to 4 lines each: names, numbers, dates, places, in fonts
of 20 to 40 pixels, white, black or gray, with and without an outline or a box behind, at any place; each film is used
until there are 400 pictures, every third goes through JPEG. What has less contrast than 0.1 of the picture's range is
no text: nobody reads it. The films without text tell what is painted over in vain. --real: folders of real pictures,
measured beside the bar. Exit 1 where the bar is missed: at least 98 % of the text's pixels, at most 2 % of the picture
beside the text, at most 0.2 % of clean pictures.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _report import print_report
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread

from medvlp.core.randomness import numpy_generator
from medvlp.io.deidentify.burned_in import find_text

WORDS = (
    "DOE^JANE",
    "Smith, John A.",
    "MRN 00471123",
    "ID:4711-0815",
    "12/03/1951",
    "1951-03-12",
    "F 072Y",
    "AP PORTABLE",
)
WORDS = (
    *WORDS,
    "General Hospital",
    "St. Mary's",
    "Dr. Miller",
    "08:15:22 AM",
    "ACC 20231107",
    "Müller Jürgen",
    "Room 12B",
)


@dataclass(frozen=True)
class Drawn:
    """A picture with text: values, the text's pixels, and the boxes of its lines."""

    values: np.ndarray
    text: np.ndarray
    lines: np.ndarray


def fonts() -> list[str]:
    """Latin text fonts that are installed, and those of matplotlib."""
    names = [entry.fname for entry in font_manager.fontManager.ttflist]
    plain = ("DejaVuSans", "DejaVuSerif", "LiberationSans", "LiberationMono", "LiberationSerif")
    return sorted({name for name in names if Path(name).name.startswith(plain) and "Display" not in name})


def drawn(picture: np.ndarray, index: int, known: list[str]) -> Drawn:
    """Burn text into a picture of 16 bits."""
    random = numpy_generator(0, index, "burned.text")
    values, text, lines = picture.astype(np.float64), np.zeros(picture.shape, bool), np.zeros(picture.shape, bool)
    low, high = np.percentile(values, (1, 99))
    for _ in range(random.integers(1, 5)):
        font = ImageFont.truetype(known[random.integers(len(known))], int(random.integers(20, 41)))
        words = "  ".join(random.choice(WORDS, size=random.integers(1, 3)))
        layer = Image.new("L", picture.shape[::-1])
        left, top, right, bottom = font.getbbox(words)
        x = int(random.integers(4, max(5, picture.shape[1] - right - 4)))
        y = int(random.integers(4, max(5, picture.shape[0] - bottom - 4)))
        box = (slice(max(y + top - 4, 0), y + bottom + 4), slice(max(x + left - 4, 0), x + right + 4))
        if lines[box].any():
            continue
        ImageDraw.Draw(layer).text((x, y), words, fill=255, font=font)
        alpha = np.asarray(layer, np.float64) / 255
        style = random.choice(["white", "black", "gray", "boxed", "outlined"])
        around = float(np.median(values[box]))
        ink = {"white": values.max(), "black": values.min(), "boxed": values.max(), "outlined": values.max()}.get(
            str(style), low + 0.8 * (high - low)
        )
        if abs(ink - around) < 0.3 * (high - low):
            ink = values.min() if ink > around else values.max()
        if style == "boxed":
            values[box] = values.min() if ink > values.min() else values.max()
        if style == "outlined":
            wide = Image.new("L", picture.shape[::-1])
            ImageDraw.Draw(wide).text((x, y), words, fill=255, font=font, stroke_width=1)
            edge = np.asarray(wide, np.float64) / 255
            values = values * (1 - edge) + edge * (values.min() if ink > values.min() else values.max())
        before, values = values, values * (1 - alpha) + alpha * ink
        text |= (alpha > 0.5) & (np.abs(before - ink) > 0.1 * (high - low))  # white on white is seen by nobody
        lines[box] = True
    stored = np.rint(values).astype(picture.dtype)
    return Drawn(compressed(stored) if index % 3 == 0 else stored, text, lines)


def compressed(values: np.ndarray) -> np.ndarray:
    """8 bits and JPEG of quality 85 and back."""
    span = max(int(values.max()) - int(values.min()), 1)
    data = io.BytesIO()
    Image.fromarray(((values.astype(float) - values.min()) / span * 255).astype(np.uint8)).save(
        data, "JPEG", quality=85
    )
    return np.asarray(Image.open(data)).astype(np.uint16)


def films(hospital: Path) -> Iterator[np.ndarray]:
    """Stored values of a synthetic hospital's radiographs."""
    for path in sorted(hospital.rglob("*.dcm")):
        yield dcmread(path).pixel_array


def real(folders: list[Path], most: int) -> Iterator[np.ndarray]:
    """Pictures of folders, every so many of them."""
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".jpeg"))
    for path in files[:: max(1, len(files) // most)][:most]:
        yield np.asarray(Image.open(path).convert("L")).astype(np.uint16)


def measured(clean: Sequence[np.ndarray], pictures: int) -> dict[str, float]:
    """Shares over all pictures, and the worst."""
    known, shares, beside, found, text = fonts(), [], [], 0, 0
    for index in range(pictures):
        sample = drawn(clean[index % len(clean)], index, known)
        mask = find_text(sample.values)
        hit, total = int((mask & sample.text).sum()), int(sample.text.sum())
        found, text = found + hit, text + total
        shares.append(hit / total if total else 1.0)
        beside.append(float((mask & ~sample.lines).mean()))
    vain = [float(find_text(picture).mean()) for picture in clean[:pictures]]
    return {
        "pictures": pictures, "films": len(vain), "text_found": found / max(text, 1), "worst_picture": min(shares),
        "pictures_below_98": sum(share < 0.98 for share in shares), "beside_mean": float(np.mean(beside)),
        "beside_worst": max(beside), "clean_mean": float(np.mean(vain)), "clean_worst": max(vain),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("hospital", type=Path)
    arguments.add_argument("--pictures", type=int, default=400)
    arguments.add_argument("--real", type=Path, nargs="*", default=[])
    asked = arguments.parse_args()
    got = measured(list(films(asked.hospital)), asked.pictures)
    beside = {folder.name: measured(list(real([folder], 100)), 100) for folder in asked.real}
    passed = got["text_found"] >= 0.98 and got["beside_mean"] <= 0.02 and got["clean_mean"] <= 0.002
    print_report(
        "burned_in_text",
        n=asked.pictures,
        packages=("numpy", "scipy", "pillow"),
        synthetic=got,
        real=beside,
        passed=passed,
    )
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()

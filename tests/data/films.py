"""Pictures as unlike each other as films of two people, and copies of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def film(number: int, *, height: int = 150, width: int = 140) -> Image.Image:
    """Return a picture with structure at every size; another number, another picture."""
    draw = np.random.Generator(np.random.Philox(number))
    total = np.zeros((height, width))
    for cells in (3, 6, 12, 24, 48):
        grid = Image.fromarray(draw.standard_normal((cells, cells)).astype(np.float32))
        total += np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC)) / np.sqrt(cells)
    low, high = np.quantile(total, [0.01, 0.99])
    return Image.fromarray(np.rint(255 * np.clip((total - low) / (high - low), 0, 1)).astype(np.uint8))


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """Return a picture after JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


def inverted(image: Image.Image) -> Image.Image:
    """Return the negative."""
    return Image.fromarray(255 - np.asarray(image))


def cropped(image: Image.Image, left: float, upper: float, right: float, lower: float) -> Image.Image:
    """Return a picture with shares of its sides cut off."""
    wide, high = image.size
    return image.crop((round(left * wide), round(upper * high), round((1 - right) * wide), round((1 - lower) * high)))


def write(folder: Path, name: str, image: Image.Image) -> str:
    """Write a PNG and return its name."""
    image.save(folder / name)
    return name

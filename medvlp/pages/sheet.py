"""A contact sheet: the gallery of a run as one PNG, for a README or a slide."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medvlp.core.errors import DataError
from medvlp.core.files import write_bytes
from medvlp.features.drawing import heat_map_layer
from medvlp.pages.gallery_files import read_gallery
from medvlp.pages.inputs import GalleryItem

_GAP, _CAPTION = 8, 36
_PAPER, _INK, _GREY, _BOX = (255, 255, 255), (20, 24, 28), (95, 100, 108), (84, 214, 255)
_COLOURS = 256  # of the palette: a third of the bytes


def draw_sheet(items: Sequence[GalleryItem], *, columns: int = 4) -> NDArray[np.uint8]:
    """Return (H, W, 3): for each item its picture with the planted boxes, and beside it the heat map over the picture.

    Args:
        items: pictures of one size.
        columns: items in a row.

    Raises:
        DataError: if there is no item, or pictures differ in size.

    Example:
        >>> item = GalleryItem(image=np.zeros((16, 16), np.uint8), finding="nodule", score=0.7)
        >>> draw_sheet([item], columns=1).shape
        (68, 56, 3)
    """
    if not items:
        raise DataError("There is no picture for a contact sheet: evaluate with evaluation.gallery above 0.")
    height, width = items[0].image.shape[:2]
    if any(item.image.shape[:2] != (height, width) for item in items):
        raise DataError("The pictures of a contact sheet must have one size: take them from one run.")
    columns = min(columns, len(items))
    cell = 2 * width + _GAP, height + _CAPTION
    rows = -(-len(items) // columns)
    size = columns * (cell[0] + _GAP) + _GAP, rows * (cell[1] + _GAP) + _GAP
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for at, item in enumerate(items):
        left, top = (_GAP + (at % columns) * (cell[0] + _GAP), _GAP + (at // columns) * (cell[1] + _GAP))
        picture = Image.fromarray(np.ascontiguousarray(item.image)).convert("RGB")
        looked = picture.copy()
        if item.heat_map is not None:
            layer = Image.fromarray(heat_map_layer(item.heat_map)).resize(picture.size, Image.Resampling.BILINEAR)
            looked.paste(layer.convert("RGB"), mask=layer.getchannel("A"))
        for place, drawn in ((left, picture), (left + width + _GAP // 2, looked)):
            marks = ImageDraw.Draw(drawn)
            for box in item.boxes:
                marks.rectangle((box.left, box.top, box.right, box.bottom), outline=_BOX)
            sheet.paste(drawn, (place, top))
        words, under = f"{item.finding.replace('_', ' ')}  {item.score:.2f}", _fitting(item.truth, 2 * width)
        pen.text((left, top + height + 2), words, fill=_INK, font=ImageFont.load_default(14))
        pen.text((left, top + height + 19), under, fill=_GREY, font=ImageFont.load_default(12))
    return np.asarray(sheet)


def write_sheet(run: Path, path: Path) -> None:
    """Write the contact sheet of a run's gallery as a PNG with a palette.

    Raises:
        DataError: if the run kept no pictures.
    """
    items = [item for item in read_gallery(Path(run))[0] if not item.chosen]
    if not items:
        raise DataError(f"{run} keeps no pictures: evaluate it with evaluation.gallery above 0.")
    sheet = Image.fromarray(draw_sheet(items))
    few = sheet.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    few.save(buffer, format="PNG", optimize=True)
    write_bytes(Path(path), buffer.getvalue())


def _fitting(words: str, width: int) -> str:
    """Cut words to a width in pixels."""
    while words and ImageFont.load_default(12).getlength(words) > width:
        words = words[:-2].rstrip() + "…" if len(words) > 2 else ""
    return words

"""What is shown as one picture: a banner, the image with its layer, the findings in words."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medvlp.core.errors import UserError
from medvlp.serving.exports.shown import BANNER, Shown

_CATEGORY = {
    "present": "PRESENT", "indeterminate": "INDETERMINATE", "absent": "ABSENT", "uncalibrated": "NOT CALIBRATED",
    "not_for_this_picture": "NOT FOR THIS PICTURE",
}  # fmt: skip
_MOST_PIXELS = 1 << 27
_LEAST_WIDTH = 640  # pixels: a narrower picture could not hold the words
_BACK, _INK, _ALERT = (16, 18, 22), (225, 228, 232), (255, 196, 87)


def render(shown: Shown) -> np.ndarray:
    """Return uint8 ``(H, W, 3)``: the source's pixels one to one, hung, nothing drawn on them but the layer.

    Pixels that are not square are made so, as on the screen: their longer side is filled linearly.
    A page has no orientation that a viewer could turn it by: the sides are those that the reader saw.
    The layer is tinted by a ramp from blue over magenta to yellow, which people with colour blindness can order.

    Example:
        >>> picture = np.full((100, 700), 128, np.uint8)
        >>> made = render(Shown(picture, (), "quickstart", "0" * 64, "dicom_voi_v1", "youden"))
        >>> top = int(np.flatnonzero((made == 128).all(axis=(1, 2)))[0])
        >>> (made[top : top + 100, :, 0] == picture).all()
        np.True_
    """
    picture = shown.hanging.apply(_tinted(shown))
    rows, columns = picture.shape[:2]
    if abs(shown.aspect - 1) > 1e-3:
        rows, columns = round(rows * max(1, shown.aspect)), round(columns * max(1, 1 / shown.aspect))
        if rows * columns > _MOST_PIXELS:
            raise UserError(f"A picture of {rows} x {columns} square pixels is too large to draw: export FHIR.")
        picture = np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR))
    width = max(columns, _LEAST_WIDTH)
    size = max(14, width // 60)
    font = ImageFont.load_default(size=size)
    line = round(1.5 * size)
    words = _wrapped(_lines(shown), font, width - 2 * size)
    banner = line + size
    page = Image.new("RGB", (width, banner + rows + line * len(words) + size), _BACK)
    page.paste(Image.fromarray(picture), (0, banner))
    draw = ImageDraw.Draw(page)
    draw.text((size, size // 2), BANNER, fill=_ALERT, font=font)
    for number, text in enumerate(words):
        draw.text((size, banner + rows + size // 2 + number * line), text, fill=_INK, font=font)
    return np.asarray(page)


def _lines(shown: Shown) -> list[str]:
    said = [
        f"{_CATEGORY[each.category]}  {each.title} {each.side}".rstrip() + f"  {each.sentence}"
        for each in shown.findings
    ]
    if shown.layer is not None:
        said.append(f"map of {shown.layer.finding.replace('_', ' ')} by {shown.layer.method}, relative values")
    return [*said, *shown.made_by]


def png_bytes(shown: Shown) -> bytes:
    """Return the rendered image as PNG without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(render(shown)).save(buffer, "PNG")
    return buffer.getvalue()


def _tinted(shown: Shown) -> np.ndarray:
    plain = shown.pixels if shown.pixels.ndim == 3 else np.repeat(shown.pixels[..., None], 3, axis=-1)
    if shown.layer is None:
        return plain
    from matplotlib import colormaps

    values = np.clip(shown.layer.values.astype(np.float64), 0, 1)
    alpha = 0.5 * values[..., None]
    return np.rint((1 - alpha) * plain + alpha * 255 * colormaps["plasma"](values)[..., :3]).astype(np.uint8)


def _wrapped(lines: list[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    found: list[str] = []
    for line in lines:
        current = ""
        for word in line.split(" "):
            longer = f"{current} {word}" if current else word
            if current and font.getlength(longer) > width:
                found.append(current)
                current = "    " + word
            else:
                current = longer
        found.append(current)
    return found

"""Images and heat maps as data URIs, and the colours of charts."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ACCENT = "#0b6e8a"
COLOURS = (ACCENT, "#b0562b", "#5f6f9c", "#5d7f3d", "#8d5a97", "#7a7a7a")

# The strongest place of a heat map still lets the picture through.
_OPACITY = 0.7
_LAYER_EDGE = 160


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Return ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)`` uint8 as a lossless PNG data URI.

    Example:
        >>> png_uri(np.zeros((2, 2), np.uint8)).startswith("data:image/png;base64,")
        True
    """
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def heat_colours(steps: int = 9) -> str:
    """Return the colours of heat maps over black, weakest to strongest, for a style sheet's gradient.

    Example:
        >>> heat_colours(2)
        'rgb(0 0 0),rgb(169 167 82)'
    """
    from matplotlib import colormaps

    share = np.linspace(0, 1, steps)
    colours = np.rint(255 * colormaps["inferno"](_colour(share))[:, :3] * (_OPACITY * share)[:, None]).astype(int)
    return ",".join(f"rgb({red} {green} {blue})" for red, green, blue in colours.tolist())


def _colour(share: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the place on the colour map; its black end would look like absence."""
    return 0.25 + 0.7 * share


def heat_map_layer(heat_map: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return a heat map as a transparent RGBA layer, stretched to its own range; a flat map is fully transparent.

    Colour and opacity rise together on a perceptually even map that colour-blind readers can follow.

    Args:
        heat_map: ``(h, w)`` finite.

    Example:
        >>> heat_map_layer(np.array([[0.0, 1.0]]))[0, [0, -1], 3].tolist()
        [0, 178]
    """
    from matplotlib import colormaps

    low, high = float(heat_map.min()), float(heat_map.max())
    unit = (heat_map - low) / (high - low) if high > low else np.zeros_like(heat_map, dtype=np.float64)
    height, width = heat_map.shape
    stretch = _LAYER_EDGE / max(height, width)
    size = max(1, round(width * stretch)), max(1, round(height * stretch))
    smooth = Image.fromarray(unit.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    value = np.clip(np.asarray(smooth), 0, 1)
    layer = colormaps["inferno"](_colour(value))  # (h, w, 4) in [0, 1]
    layer[..., 3] = _OPACITY * value
    return (layer * 255).astype(np.uint8)

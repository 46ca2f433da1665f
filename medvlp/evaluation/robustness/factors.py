"""Factors that change a picture and not what is true of it: exposure, pose, devices, image quality, polarity.

Every factor is a function of displayed pixels in [0, 1] (1 white) at a few fixed levels, as Hendrycks and Dietterich
(ICLR 2019) measure corruptions of photographs. Sizes are shares of the picture's side, so that a level means the same
at every resolution. What is drawn by chance (the sign of a rotation, noise, where a device lies) is drawn from the
seed, the picture's name, the factor and the level: other pictures beside it change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medvlp.core.errors import ConfigError, DataError, did_you_mean

Pixels = NDArray[np.float32]
#: the lateral picture of the same study in the place of the frontal one: another file, not another look of one
LATERAL = "lateral"


@dataclass(frozen=True)
class Factor:
    """A factor of a robustness test: the change made to images.

    Attributes:
        name: in results.
        levels: from mild to severe.
        meaning: what a level is.
        function: (pixels, level, generator) -> pixels of the same shape; values may leave [0, 1] and are cut.
    """

    name: str
    levels: tuple[float, ...]
    meaning: str
    function: Callable[[Pixels, float, np.random.Generator], NDArray[np.floating]]


def _rotation(pixels: Pixels, level: float, draw: np.random.Generator) -> NDArray[np.floating]:
    angle = level if draw.random() < 0.5 else -level
    return ndimage.rotate(pixels, angle, reshape=False, order=1, mode="constant", cval=0.0)


def _crop(pixels: Pixels, level: float, draw: np.random.Generator) -> NDArray[np.floating]:
    height, width = pixels.shape
    crop = max(2, round(height * level)), max(2, round(width * level))
    top, left = (int(draw.integers(0, whole - part + 1)) for whole, part in zip(pixels.shape, crop, strict=True))
    piece = pixels[top : top + crop[0], left : left + crop[1]]
    rows, columns = np.linspace(0, crop[0] - 1, height), np.linspace(0, crop[1] - 1, width)
    return ndimage.map_coordinates(piece, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest")


def _device(pixels: Pixels, level: float, draw: np.random.Generator) -> NDArray[np.floating]:
    """Draw bright catheters, each a curve through four points, and a solid marker at the end of every second one."""
    out = pixels.copy()
    height, width = pixels.shape
    thick = max(1, round(min(height, width) / 128))
    for number in range(round(level)):
        knots = np.stack([np.linspace(0, 0.8, 4) + draw.uniform(-0.05, 0.05, 4), draw.uniform(0.2, 0.8, 4)])
        way = ndimage.zoom(knots, (1, max(height, width)), order=2, mode="nearest", grid_mode=False)
        row = np.clip(way[0] * height, 0, height - 1).astype(int)
        column = np.clip(way[1] * width, 0, width - 1).astype(int)
        for down in range(thick):
            for across in range(thick):
                out[np.minimum(row + down, height - 1), np.minimum(column + across, width - 1)] = 0.95
        if number % 2:
            end, side = (row[-1], column[-1]), max(2, round(min(height, width) / 10))
            out[end[0] : end[0] + side, end[1] : end[1] + side] = 0.97
    return out


def _noise(pixels: Pixels, level: float, draw: np.random.Generator) -> NDArray[np.floating]:
    return pixels + draw.normal(0, level, pixels.shape)


def _blur(pixels: Pixels, level: float, draw: np.random.Generator) -> NDArray[np.floating]:
    return ndimage.gaussian_filter(pixels, level * min(pixels.shape), mode="nearest")


def _inversion(pixels: Pixels, level: float, draw: np.random.Generator) -> NDArray[np.floating]:
    import torch  # pages name the factors and change no picture: they need a second less without it

    from medvlp.models.gate import swapped

    return swapped(torch.from_numpy(pixels)[None])[0].numpy()


FACTORS: dict[str, Factor] = {
    factor.name: factor
    for factor in (
        Factor("darker", (1.4, 2.0, 3.0), "exponent of the grey values", lambda x, level, _: x**level),
        Factor(
            "brighter",
            (1.4, 2.0, 3.0),
            "one over the exponent of the grey values",
            lambda x, level, _: x ** (1 / level),
        ),
        Factor("window", (1.25, 1.6, 2.2), "contrast about mid-grey", lambda x, level, _: (x - 0.5) * level + 0.5),
        Factor("rotation", (5.0, 10.0, 20.0), "degrees, to either side", _rotation),
        Factor("crop", (0.9, 0.8, 0.65), "share of the side that is kept", _crop),
        Factor("device", (1.0, 2.0, 4.0), "lines drawn over the picture", _device),
        Factor("noise", (0.03, 0.08, 0.2), "standard deviation, of the display range", _noise),
        Factor("blur", (0.004, 0.01, 0.025), "standard deviation, of the side", _blur),
        Factor("inversion", (1.0,), "black and white swapped", _inversion),
    )
}


def factor_names() -> tuple[str, ...]:
    """Return all factors, the lateral picture last.

    Example:
        >>> factor_names()[:3], factor_names()[-1]
        (('darker', 'brighter', 'window'), 'lateral')
    """
    return (*FACTORS, LATERAL)


def chosen_factors(names: Sequence[str]) -> tuple[str, ...]:
    """Return the factors asked for; all where none is named.

    Raises:
        ConfigError: for a name that is none.
    """
    unknown = [name for name in names if name not in factor_names()]
    if unknown:
        raise ConfigError(f"There is no factor {unknown[0]!r}: {did_you_mean(unknown[0], factor_names())}.")
    return tuple(names) or factor_names()


def change(pixels: Pixels, factor: str, level: float, *, name: str, seed: int = 0) -> Pixels:
    """Return a picture with one factor changed, float32 in [0, 1] of the same shape.

    Args:
        pixels: (H, W) in [0, 1], as displayed.
        factor: one of `FACTORS`.
        level: how much, see its `meaning`.
        name: of the picture: the same one is always changed alike.
        seed: of the evaluation.

    Raises:
        DataError: if the pixels are no such picture.

    Example:
        >>> change(np.full((4, 4), 0.25, np.float32), "brighter", 2.0, name="a")[0, 0].item()
        0.5
    """
    if pixels.ndim != 2 or min(pixels.shape) < 2:
        raise DataError(f"A factor changes a picture (H, W) of at least 2 x 2 pixels, not {pixels.shape}.")
    digest = hashlib.sha256(f"{seed}\x1f{name}\x1f{factor}\x1f{level:g}".encode()).digest()
    draw = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    changed = FACTORS[factor].function(np.asarray(pixels, np.float32), level, draw)
    return np.clip(changed, 0, 1).astype(np.float32)

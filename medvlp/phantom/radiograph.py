"""From a projection to the stored pixels of a digital radiograph: beam, scatter, noise, processing, marker, border."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import ndimage

from medvlp.phantom.projection import Projection

_LETTERS: Final = {
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
}

Corner = Literal["upper left", "upper right", "lower left", "lower right"]


@dataclass(frozen=True, slots=True)
class DetectorLook:
    """How a device's pictures look.

    Attributes:
        bits: stored bits, 8 to 16.
        exposure: photons (in thousands) that reach a mm2 of detector behind the average chest; sets the quantum noise
            (75 is about 2.5 uGy, a standard film; 20 a low-dose bedside one).
        scatter_fraction: scattered share of the signal behind the average chest (0.2 with a grid, 0.6 without).
        noise: electronic noise, relative to the quantum noise behind the average chest.
        contrast: slope of the display curve; 1 is a plain film, larger is harder.
        gamma: power after the curve; below 1 brightens the lungs.
        equalise: share of the large-scale contrast that processing takes away (0 film, 0.5 strong).
        sharpness: strength of the edge enhancement (structures of about 3 mm).
        detail: strength with which structures of about 12 mm are brought out (multi-scale processing).
        blur: of the detector in pixels (standard deviation).
        vignetting: loss of signal in the corners, 0 to 1.
        low: share of the stored range below the darkest useful value.
        high: share of the stored range at the brightest useful value.
        marker: letters burned in (``"L"``, ``"R"``), ``""`` for none.
        marker_corner: where; a side letter belongs to the side it names (right side: image left).
        marker_polarity: ``"bright"`` (lead) or ``"dark"`` (burned in by software on a light plate).
        border: collimated border in pixels of 256 (top, right, bottom, left).
        border_value: 0 black, 1 white; collimated film is dark after processing or blanked white.
    """

    bits: int = 12
    exposure: float = 60.0
    scatter_fraction: float = 0.3
    noise: float = 0.2
    contrast: float = 1.0
    gamma: float = 1.0
    equalise: float = 0.4
    sharpness: float = 0.5
    detail: float = 1.0
    blur: float = 0.4
    vignetting: float = 0.03
    low: float = 0.02
    high: float = 0.96
    marker: str = "L"
    marker_corner: Corner = "upper right"
    marker_polarity: Literal["bright", "dark"] = "bright"
    border: tuple[int, int, int, int] = (0, 0, 0, 0)
    border_value: float = 0.0


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return a wide Gaussian blur, computed on a coarser grid."""
    step = max(int(sigma // 3), 1)
    height, width = image.shape
    rows, columns = -(-height // step), -(-width // step)
    padded = np.pad(image, ((0, rows * step - height), (0, columns * step - width)), mode="edge")
    small = padded.reshape(rows, step, columns, step).mean((1, 3), dtype=np.float32)
    small = ndimage.gaussian_filter(small, sigma / step, mode="nearest", truncate=3.0)
    for axis, length in ((0, height), (1, width)):
        place = np.clip((np.arange(length, dtype=np.float32) - (step - 1) / 2) / step, 0, small.shape[axis] - 1)
        first = np.minimum(place.astype(np.intp), max(small.shape[axis] - 2, 0))
        second = np.minimum(first + 1, small.shape[axis] - 1)
        share = (place - first).astype(np.float32)
        share = share[:, None] if axis == 0 else share[None, :]
        small = small.take(first, axis) * (1 - share) + small.take(second, axis) * share
    return small


def detect(projection: Projection, look: DetectorLook, generator: np.random.Generator) -> np.ndarray:
    """Return the noisy exponent that the detector measures, float32 (H, W)."""
    primary = np.exp(-projection.line_integral, dtype=np.float32)
    height, width = primary.shape
    reach = 0.085 * height  # scatter spreads over some 3.5 cm
    behind = float(primary[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4].mean())
    ratio = look.scatter_fraction / (1.0 - look.scatter_fraction)
    # Air around the body scatters nothing: the bright outside must not flood the shoulders.
    source = np.minimum(primary, np.float32(2.5 * behind))
    signal = primary + np.float32(ratio) * (np.float32(0.2 * behind) + np.float32(0.8) * _smooth(source, reach))
    if look.vignetting:
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, width, dtype=np.float32)[None]
        signal *= np.float32(1.0) - np.float32(look.vignetting / 2) * (x * x + y * y)
    photons = look.exposure * 1000.0 * projection.pixel_spacing[0] * projection.pixel_spacing[1]
    quanta = np.float32(photons / (behind / (1.0 - look.scatter_fraction)))
    electronic = np.float32(look.noise**2 * behind)
    deviation = np.sqrt((signal + electronic) / quanta)
    signal += deviation * generator.standard_normal(signal.shape, np.float32)
    if look.blur > 0:
        signal = ndimage.gaussian_filter(signal, look.blur, mode="nearest", truncate=3.0)
    return -np.log(np.maximum(signal, np.float32(1e-6)))


def _display(exponent: np.ndarray, look: DetectorLook) -> np.ndarray:
    """Return values in [0, 1] after the device's processing: equalisation, edge enhancement, curve."""
    height, width = exponent.shape
    body = exponent > np.float32(0.75)  # what is not bare beam
    if look.equalise:
        clipped = np.maximum(exponent, np.float32(np.quantile(exponent[body][::4], 0.03)))
        exponent = exponent - np.float32(look.equalise) * _smooth(clipped, 0.1 * height)
    original = exponent
    for strength, reach in ((look.sharpness, 1.6), (look.detail, 5.5)):
        if strength:
            # Faint structures are enhanced in full, strong edges less: no bright seams along skin and metal.
            fine = original - ndimage.gaussian_filter(original, reach * height / 256, mode="nearest", truncate=2.5)
            fine /= np.float32(1.0) + np.abs(fine) * np.float32(3.0)
            exponent = exponent + np.float32(strength) * fine
    inner = exponent[height // 8 : height - height // 10 : 2, width // 7 : width - width // 7 : 2]
    inner = inner[body[height // 8 : height - height // 10 : 2, width // 7 : width - width // 7 : 2]]
    low, high = (np.float32(q) for q in np.quantile(inner, (0.015, 0.97)))
    value = (exponent - low) / max(high - low, np.float32(1e-3))
    value = np.float32(0.2) + np.float32(0.66) * value
    steep = np.float32(3.4 * look.contrast)
    value = 1.0 / (1.0 + np.exp(-steep * (value - np.float32(0.5)), dtype=np.float32))
    first, last = (1.0 / (1.0 + np.exp(np.float32(sign * 0.58) * steep)) for sign in (1, -1))
    value = np.clip((value - first) / (last - first), 0.0, 1.0)
    return value ** np.float32(look.gamma) if look.gamma != 1.0 else value


def letter_image(text: str, height: int) -> np.ndarray:
    """Return lead letters (L, R) as float32 (height, W), 1 on the strokes; legible from 7 pixels on."""
    rows = [" ".join(_LETTERS[letter][row] for letter in text) for row in range(7)]
    small = np.array([[mark == "#" for mark in row] for row in rows], np.float32)
    width = max(round(small.shape[1] * height / 7), 1)
    rows_of = np.minimum(np.arange(height) * 7 // height, 6)
    return small[rows_of][:, np.minimum(np.arange(width) * small.shape[1] // width, small.shape[1] - 1)]


def _mark(value: np.ndarray, look: DetectorLook) -> None:
    height, width = value.shape
    tall = max(round(height / 22), 7)
    glyph = letter_image(look.marker, tall)
    top = round(0.045 * height) if look.marker_corner.startswith("upper") else height - round(0.045 * height) - tall
    left = round(0.05 * width) if look.marker_corner.endswith("left") else width - round(0.05 * width) - glyph.shape[1]
    place = value[top : top + tall, left : left + glyph.shape[1]]
    if look.marker_polarity == "bright":
        np.maximum(place, glyph * np.float32(0.98), out=place)
    else:
        pad = max(tall // 5, 1)
        plate = value[max(top - pad, 0) : top + tall + pad, max(left - pad, 0) : left + glyph.shape[1] + pad]
        np.maximum(plate, np.float32(0.85), out=plate)
        place -= glyph * np.float32(0.8)


def expose(projection: Projection, look: DetectorLook, *, generator: np.random.Generator) -> np.ndarray:
    """Return the stored pixels of a radiograph, in the sense of MONOCHROME2 (bone bright).

    Quantum and electronic noise on primary and scattered radiation, then logarithm, equalisation, enhancement and a
    display curve between quantiles of the chest, as a digital system chooses them; then collimation and marker.

    Args:
        projection: from `project`.
        look: the device.
        generator: draws the noise.

    Returns:
        uint16 (H, W), below ``2 ** look.bits``.
    """
    value = _display(detect(projection, look, generator), look)
    height, width = value.shape
    top, right, bottom, left = (round(edge * height / 256) for edge in look.border)
    for part in (value[:top], value[height - bottom :], value[:, :left], value[:, width - right :]):
        part[...] = look.border_value
    if look.marker:
        _mark(value, look)
    full = np.float32(2**look.bits - 1)
    return np.rint(np.clip(look.low + (look.high - look.low) * value, 0.0, 1.0) * full).astype(np.uint16)

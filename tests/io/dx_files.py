"""Radiographs of known truth, one or more for each numbered pitfall of 2D reading.

Every file holds the same scene, ``r^2 + 12 c``: it rises down and to the right and is bent, so that any turn, flip or
inversion shows. Truth is written from the standard's formulas, never read back from a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jpeg_ls
import numpy as np
from openjpeg.utils import encode_array

IMPLICIT, DEFLATED, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
JPEG_LS, J2K = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
H, W = 48, 64
GRAY12 = (np.arange(H)[:, None] ** 2 + 12 * np.arange(W)).astype(np.uint16)  # 0 to 2965
GRAY8 = (GRAY12.astype(int) * 255 // int(GRAY12.max())).astype(np.uint8)  # 0 to 255
TWELVE = {0x00280101: ("US", 12), 0x00280102: ("US", 11)}
MONO1 = {0x00280004: ("CS", "MONOCHROME1")}
COLOUR = {0x00280002: ("US", 3), 0x00280006: ("US", 0)}


@dataclass(frozen=True)
class Dx:
    """One file and what a display shows of it.

    Attributes:
        name: of the case.
        pitfall: its number.
        pixels: as the writer takes them.
        truth: (H, W) in [0, 1].
        tags: added to the writer's own.
        options: of the writer.
        note: words of the warning that must come; None where the file is good and no warning may come.
        scored: whether other readers are measured on it.
    """

    name: str
    pitfall: int
    pixels: np.ndarray | bytes
    truth: np.ndarray
    tags: dict[int, tuple[str, object]] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)
    note: str | None = None
    scored: bool = True


def full(x):
    x = np.asarray(x, float)
    return (x - x.min()) / (x.max() - x.min())


def linear(x, c, w):
    """PS3.3 C.11.2.1.2.1."""
    x = np.asarray(x, float)
    if w == 1:
        return (x > c - 0.5).astype(float)
    return np.clip((x - (c - 0.5)) / (w - 1) + 0.5, 0, 1)


def voi(center, width, function=None):
    tags = {0x00281050: ("DS", np.atleast_1d(center).tolist()), 0x00281051: ("DS", np.atleast_1d(width).tolist())}
    return {**tags, 0x00281056: ("CS", function)} if function else tags


def rescale(slope, intercept):
    return {0x00281052: ("DS", [intercept]), 0x00281053: ("DS", [slope])}


def lut(entries, first, bits):
    return {0x00283002: ("US", [len(entries), first, bits]), 0x00283006: ("US", list(entries))}


def modality_lut(entries):
    return {0x00283000: ("SQ", [{**lut(entries, 0, 16), 0x00283004: ("LO", "OD")}])}


DENSITY = np.arange(256)[::-1] ** 2 // 8  # a falling, curved table for 8-bit values
CURVE = np.rint(1023 * (np.arange(4096) / 4095) ** 2).astype(int)  # a curve that no window makes
SIGNED = (GRAY12.astype(int) - 2048).astype(np.int16)
J2K_SIGNED = bytes(encode_array(SIGNED.view(np.uint16) & 0x0FFF, bits_stored=12, photometric_interpretation=2))
SQUARE = np.s_[4:9, 6:12]  # where padding lies


def padded(values, padding):
    changed = values.copy()
    changed[SQUARE] = padding
    return changed


def black_square(shown):
    changed = np.array(shown, float)
    changed[SQUARE] = 0
    return changed


def unpadded(values):
    """Full range of what lies outside the square."""
    outside = np.ones(values.shape, bool)
    outside[SQUARE] = False
    low, high = float(values[outside].min()), float(values[outside].max())
    return (values - low) / (high - low)


def _polarity_and_modality() -> list[Dx]:
    dense = DENSITY[GRAY8]
    return [
        Dx("monochrome1", 1, GRAY8, 1 - full(GRAY8), MONO1),
        Dx("monochrome1_window", 1, GRAY12, 1 - linear(GRAY12, 1500, 2000), {**MONO1, **TWELVE, **voi(1500, 2000)}),
        Dx("no_rescale", 2, GRAY12, full(GRAY12), TWELVE),
        Dx(
            "rescale_and_window", 2, GRAY12, linear(GRAY12 * 2.0 - 1000, 2000, 3000),
            {**TWELVE, **rescale(2, -1000), **voi(2000, 3000)},
        ),
        Dx(
            "fractional_slope", 2, GRAY12, linear(GRAY12 * 0.25, 300, 400),
            {**TWELVE, **rescale(0.25, 0), **voi(300, 400)},
        ),
        Dx("modality_lut", 3, GRAY8, full(dense), modality_lut(DENSITY)),
        Dx(
            "modality_lut_and_window", 3, GRAY8, linear(dense, 4000, 5000),
            {**modality_lut(DENSITY), **voi(4000, 5000)},
        ),
        Dx(
            "window_far_from_stored_values", 4, GRAY12, linear(GRAY12 + 10000.0, 12000, 3000),
            {**TWELVE, **rescale(1, 10000), **voi(12000, 3000)},
        ),
    ]  # fmt: skip


def _values_of_interest() -> list[Dx]:
    curve = {0x00283010: ("SQ", [lut(CURVE, 0, 10)])}
    bent = CURVE[GRAY12] / 1023
    exact = np.clip((GRAY12 - 1500.0) / 2000 + 0.5, 0, 1)
    sigmoid = 1 / (1 + np.exp(-4 * (GRAY12 - 1500.0) / 2000))
    return [
        Dx("voi_lut", 5, GRAY12, bent, {**TWELVE, **curve}),
        Dx("voi_lut_and_window", 5, GRAY12, bent, {**TWELVE, **curve, **voi(100, 50)}),
        Dx("two_windows", 5, GRAY12, linear(GRAY12, 1000, 500), {**TWELVE, **voi([1000, 3000], [500, 900])}),
        Dx("linear", 6, GRAY8, linear(GRAY8, 100, 51), voi(100, 51, "LINEAR")),
        Dx("linear_exact", 6, GRAY12, exact, {**TWELVE, **voi(1500, 2000, "LINEAR_EXACT")}),
        Dx("sigmoid", 6, GRAY12, sigmoid, {**TWELVE, **voi(1500, 2000, "SIGMOID")}),
        Dx("width_1_is_a_threshold", 6, GRAY8, linear(GRAY8, 128, 1), voi(128, 1)),
        Dx("width_0", 6, GRAY8, full(GRAY8), voi(128, 0), note="WindowWidth 0 is not allowed"),
        Dx(
            "inverse_shape", 7, GRAY8, 1 - full(GRAY8), {0x20500020: ("CS", "INVERSE")},
            note="PresentationLUTShape INVERSE contradicts MONOCHROME2",
        ),
        Dx("monochrome1_and_inverse_shape", 7, GRAY8, 1 - full(GRAY8), {**MONO1, 0x20500020: ("CS", "INVERSE")}),
    ]  # fmt: skip


def _bits_and_padding() -> list[Dx]:
    signed = {**TWELVE, 0x00280103: ("US", 1)}
    words = {"rows": H, "columns": W, "bits": 16}
    overlay = GRAY12 | (np.arange(W, dtype=np.uint16) % 2 << 15).astype(np.uint16)
    low = GRAY12.astype(np.int16) + 100
    return [
        Dx("overlay_in_bit_15", 8, overlay, full(GRAY12), TWELVE),
        Dx("signed_12_in_16", 8, ((SIGNED & 0x0FFF).astype("<u2")).tobytes(), full(SIGNED), signed, words),
        Dx("high_bit_15", 8, GRAY12 << 4, full(GRAY12), {0x00280101: ("US", 12), 0x00280102: ("US", 15)}),
        Dx(
            "j2k_unsigned_stream_of_signed_pixels", 9, SIGNED, full(SIGNED), signed,
            {"syntax": J2K, "compressed": [J2K_SIGNED]},
        ),
        Dx(
            "jpeg_ls_of_signed_pixels", 9, SIGNED, full(SIGNED), {},
            {"syntax": JPEG_LS, "compressed": [bytes(jpeg_ls.encode_array(SIGNED.view(np.uint16)))]},
        ),
        Dx("padding", 10, padded(low, -2000), black_square(unpadded(low)), {0x00280120: ("SS", -2000)}),
        Dx(
            "padding_of_monochrome1", 10, padded(low, -2000), black_square(1 - unpadded(low)),
            {**MONO1, 0x00280120: ("SS", -2000)},
        ),
        Dx(
            "padding_range", 10, padded(low, -1500), black_square(unpadded(low)),
            {0x00280120: ("SS", -2000), 0x00280121: ("SS", -1000)},
        ),
    ]  # fmt: skip


def _colours_and_frames() -> list[Dx]:
    rgb = np.repeat(GRAY8[..., None], 3, axis=-1)
    ybr = np.stack([GRAY8, np.full_like(GRAY8, 128), np.full_like(GRAY8, 128)], axis=-1)
    bytes_of = {"rows": H, "columns": W, "bits": 8}
    palette = {0x00280004: ("CS", "PALETTE COLOR")}
    for k in range(3):
        palette[0x00281101 + k] = ("US", [256, 0, 16])
        palette[0x00281201 + k] = ("OW", (np.arange(256)[::-1] * 257).astype("<u2").tobytes())
    return [
        Dx("gray_in_rgb", 11, rgb.tobytes(), GRAY8 / 255, {**COLOUR, 0x00280004: ("CS", "RGB")}, bytes_of),
        Dx("gray_in_ybr_full", 11, ybr.tobytes(), GRAY8 / 255, {**COLOUR, 0x00280004: ("CS", "YBR_FULL")}, bytes_of),
        Dx("palette_of_falling_grays", 11, GRAY8, 1 - GRAY8 / 255, palette),
        Dx("two_frames", 12, np.stack([GRAY8, GRAY8.T.reshape(H, W)]), full(GRAY8), note="has 2 frames", scored=False),
        Dx(
            "jpeg_2000", 13, GRAY12, full(GRAY12), TWELVE,
            {"syntax": J2K, "compressed": [bytes(encode_array(GRAY12, bits_stored=12, photometric_interpretation=2))]},
        ),
        Dx("deflated", 13, GRAY12, full(GRAY12), TWELVE, {"syntax": DEFLATED}),
        Dx(
            "neither_preamble_nor_meta", 14, GRAY12, full(GRAY12), TWELVE,
            {"syntax": IMPLICIT, "preamble": None, "meta": False}, note="preamble is missing",
        ),
    ]  # fmt: skip


def _patient_and_place() -> list[Dx]:
    private = {0x00090010: ("LO", "ACME"), 0x00091001: ("UN", bytes(range(64))), 0x00080005: ("CS", "\\ISO 2022 IR 87")}
    japanese = {0x00100010: ("PN", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B")}
    return [
        Dx(
            "non_square_pixels", 23, GRAY8, full(GRAY8), {0x00280030: ("DS", [0.8, 0.5])},
            note="pixels are not square", scored=False,
        ),
        Dx(
            "patients_right_at_the_right_hand", 24, GRAY8, full(GRAY8)[:, ::-1],
            {0x00200020: ("CS", "R\\F"), 0x00185101: ("CS", "PA")}, note="PatientOrientation R\\F is unusual",
        ),
        Dx(
            "burned_in", 25, GRAY8, full(GRAY8), {0x00280301: ("CS", "YES")}, note="BurnedInAnnotation is YES",
            scored=False,
        ),
        Dx("private_tags_and_two_alphabets", 26, GRAY8, full(GRAY8), {**private, **japanese}, scored=False),
    ]  # fmt: skip


DX_FILES: tuple[Dx, ...] = (
    *_polarity_and_modality(), *_values_of_interest(), *_bits_and_padding(), *_colours_and_frames(),
    *_patient_and_place(),
)  # fmt: skip

"""The display pipeline in its order: stored bits, padding, modality, values of interest, polarity."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.io import UnreadableImage, read_image
from medvlp.io.dicom_display import _apply

WINDOW = {0x00281050: ("DS", [40]), 0x00281051: ("DS", [400])}


def shown(path, **options):
    return read_image(path, **options).pixels


def linear(x, c, w):
    return np.clip((np.asarray(x, float) - (c - 0.5)) / (w - 1) + 0.5, 0, 1)


def test_window_is_applied_to_rescaled_values(dicom):
    stored = np.array([[0, 1000, 1064, 1100, 1264, 4000]], np.uint16)
    path = dicom(stored, {**WINDOW, 0x00281052: ("DS", [-1024]), 0x00281053: ("DS", [1])})
    assert shown(path)[0] == pytest.approx(linear(stored[0].astype(int) - 1024, 40, 400), abs=1e-6)


def test_fractional_slope(dicom):
    stored = np.array([[0, 100, 200, 3000]], np.uint16)
    path = dicom(
        stored,
        {0x00281050: ("DS", [100]), 0x00281051: ("DS", [200]), 0x00281053: ("DS", [0.684]), 0x00281052: ("DS", [20])},
    )
    assert shown(path)[0] == pytest.approx(linear(stored[0] * 0.684 + 20, 100, 200), abs=1e-6)


@pytest.mark.parametrize(
    ("function", "expected"), [("LINEAR", (100 - 99.5) / 99 + 0.5), ("LINEAR_EXACT", 0.5), ("SIGMOID", 0.5)]
)
def test_voi_function_is_the_one_named(dicom, function, expected):
    stored = np.array([[100, 0, 255]], np.uint8)
    path = dicom(stored, {0x00281050: ("DS", [100]), 0x00281051: ("DS", [100]), 0x00281056: ("CS", function)})
    image = read_image(path)
    assert image.pixels[0, 0] == pytest.approx(expected, abs=1e-6)
    assert any(function in step for step in image.steps)
    assert image.warnings == ()


def test_first_of_several_windows(dicom):
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = dicom(stored, {0x00281050: ("DS", [50, 200]), 0x00281051: ("DS", [100, 20])})
    assert shown(path) == pytest.approx(linear(stored, 50, 100), abs=1e-6)


def test_forbidden_width_is_passed_over_and_announced(dicom):
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = read_image(dicom(stored, {0x00281050: ("DS", [9, 50]), 0x00281051: ("DS", [0, 100])}))
    assert image.pixels == pytest.approx(linear(stored, 50, 100), abs=1e-6)
    assert any("WindowWidth 0 is not allowed" in note for note in image.warnings)


def test_width_below_one_is_linear_exact_and_announced(dicom):
    stored = np.array([[0, 1, 2, 3]], np.uint8)
    tags = {0x00281050: ("DS", [0.5]), 0x00281051: ("DS", [0.8]), 0x00281053: ("DS", [0.25]), 0x00281052: ("DS", [0])}
    image = read_image(dicom(stored, tags))
    values = stored[0] * 0.25
    assert image.pixels[0] == pytest.approx(np.clip((values - 0.5) / 0.8 + 0.5, 0, 1), abs=1e-6)
    assert any("LINEAR_EXACT" in note for note in image.warnings)


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_width_below_one_is_forbidden_to_linear_alone(dicom, function):  # C.11.2.1.3
    tags = {0x00281050: ("DS", [2]), 0x00281051: ("DS", [0.5]), 0x00281056: ("CS", function)}
    image = read_image(dicom(np.array([[0, 1, 2, 3]], np.uint8), tags))
    assert image.warnings == ()
    assert any(function in step for step in image.steps)


def test_function_and_polarity_are_those_of_every_window_of_the_file(dicom):
    stored = np.array([[0, 90, 100, 255]], np.uint8)
    tags = {0x00281050: ("DS", [50, 100]), 0x00281051: ("DS", [100, 51]), 0x00281056: ("CS", "SIGMOID")}
    path = dicom(stored, {**tags, 0x00280004: ("CS", "MONOCHROME1")})
    assert shown(path, window=1)[0] == pytest.approx(1 - 1 / (1 + np.exp(-4 * (stored[0] - 100.0) / 51)), abs=1e-6)


def test_an_intercept_without_a_slope_is_applied(dicom):
    stored = np.array([[0, 1024, 1064, 4000]], np.uint16)
    path = dicom(stored, {**WINDOW, 0x00281052: ("DS", [-1024])})
    assert shown(path)[0] == pytest.approx(linear(stored[0] - 1024.0, 40, 400), abs=1e-6)


def test_without_window_minimum_to_maximum(dicom):
    stored = np.array([[-50, 0, 150]], np.int16)
    assert shown(dicom(stored))[0] == pytest.approx([0, 0.25, 1])


def test_voi_lut_counts_before_window(dicom):
    # 4 entries of 12 bits, the first for value 10: a curve that no window makes.
    stored = np.array([[0, 10, 11, 12, 13, 200]], np.uint16)
    lut = {0x00283002: ("US", [4, 10, 12]), 0x00283006: ("US", [0, 4095, 100, 2000])}
    image = read_image(dicom(stored, {**WINDOW, 0x00283010: ("SQ", [lut])}))
    assert image.pixels[0] == pytest.approx(np.array([0, 0, 4095, 100, 2000, 2000]) / 4095)
    assert any("VOILUTSequence, 4 entries of 12 bits" in step for step in image.steps)


@pytest.mark.parametrize("groups", [0x52009229, 0x52009230, None])
def test_voi_lut_may_stand_in_the_functional_groups_of_a_frame(dicom, groups):
    stored = np.array([[0, 10, 11, 12, 13, 200]], np.uint16)
    lut = {0x00283010: ("SQ", [{0x00283002: ("US", [4, 10, 12]), 0x00283006: ("US", [0, 4095, 100, 2000])}])}
    tags = {**WINDOW, **lut} if groups is None else {groups: ("SQ", [{0x00289132: ("SQ", [{**WINDOW, **lut}])}])}
    path = dicom(stored, tags)
    assert shown(path)[0] == pytest.approx(np.array([0, 0, 4095, 100, 2000, 2000]) / 4095)
    assert shown(path, window=0)[0] == pytest.approx(linear(stored[0], 40, 400), abs=1e-6)


@pytest.mark.parametrize(("vr", "first"), [("SS", -1000), ("US", 64536)])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_voi_lut_first_value_may_be_negative(dicom, syntax, vr, first):
    # Whether the first mapped value is US or SS is for the modality's lowest value to decide, not for what is written.
    stored = np.array([[0, 1, 2, 3]], np.uint16)
    lut = {0x00283002: (vr, [3, first, 8]), 0x00283006: ("US", [0, 51, 255])}
    tags = {0x00281052: ("DS", [-1001]), 0x00281053: ("DS", [1]), 0x00283010: ("SQ", [lut])}
    assert shown(dicom(stored, tags, syntax=syntax))[0] == pytest.approx([0, 0, 51 / 255, 1])


def test_white_of_a_voi_lut_is_the_largest_number_of_its_bits_though_no_entry_has_it(dicom):
    lut = {0x00283002: ("US", [3, 0, 12]), 0x00283006: ("US", [0, 1000, 2000])}
    path = dicom(np.array([[0, 1, 2]], np.uint8), {0x00283010: ("SQ", [lut])})
    assert shown(path)[0] == pytest.approx(np.array([0, 1000, 2000]) / 4095)


def test_first_values_of_tables_have_the_sign_of_the_values_that_they_map(dicom):
    # Where no VR tells: a Modality LUT's is signed as pixels are (C.11.1.1), and what it gives never is (C.11.2.1.1).
    curve = {0x00283010: ("SQ", [{0x00283002: ("US", [3, 40000, 8]), 0x00283006: ("US", [0, 51, 255])}])}
    levels = [40000, 40001, 40002]
    table = {0x00283002: ("SS", [3, -2, 16]), 0x00283004: ("LO", "US"), 0x00283006: ("US", levels)}
    of_table = {**curve, 0x00283000: ("SQ", [table])}
    unsigned = np.uint16([levels])
    as_they_are = {**curve, 0x00281052: ("DS", [0]), 0x00281053: ("DS", [1])}
    for stored, tags in ((unsigned, curve), (unsigned, as_they_are), (np.int16([[-2, -1, 0]]), of_table)):
        assert shown(dicom(stored, tags, syntax="1.2.840.10008.1.2"))[0] == pytest.approx([0, 51 / 255, 1])


def test_modality_lut_counts_before_rescale_and_feeds_the_window(dicom):
    stored = np.array([[0, 1, 2]], np.uint8)
    lut = {0x00283002: ("US", [3, 0, 16]), 0x00283004: ("LO", "US"), 0x00283006: ("US", [300, 200, 100])}
    path = dicom(stored, {0x00283000: ("SQ", [lut]), 0x00281050: ("DS", [200]), 0x00281051: ("DS", [201])})
    assert shown(path)[0] == pytest.approx(linear([300, 200, 100], 200, 201), abs=1e-6)


def test_modality_lut_that_is_not_monotone_has_its_own_extremes(dicom):
    stored = np.array([[0, 1, 2]], np.uint8)
    lut = {0x00283002: ("US", [3, 0, 16]), 0x00283004: ("LO", "US"), 0x00283006: ("US", [10, 30, 20])}
    assert shown(dicom(stored, {0x00283000: ("SQ", [lut])}))[0] == pytest.approx([0, 1, 0.5])


def test_extremes_of_a_modality_lut_are_those_of_the_values_that_occur(dicom):
    stored = np.array([[0, 2, 4]], np.uint8)
    lut = {0x00283002: ("US", [5, 0, 16]), 0x00283004: ("LO", "US"), 0x00283006: ("US", [10, 90, 30, 0, 20])}
    assert shown(dicom(stored, {0x00283000: ("SQ", [lut])}))[0] == pytest.approx([0, 1, 0.5])


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted", "contradiction"),
    [
        ("MONOCHROME2", None, False, False),
        ("MONOCHROME1", None, True, False),
        ("MONOCHROME2", "IDENTITY", False, False),
        ("MONOCHROME1", "INVERSE", True, False),  # the two say the same thing: once, not twice
        ("MONOCHROME2", "INVERSE", True, True),
        ("MONOCHROME1", "IDENTITY", True, True),
    ],
)
def test_polarity(dicom, photometric, shape, inverted, contradiction):
    stored = np.array([[0, 1, 4]], np.uint8)
    tags = {0x00280004: ("CS", photometric), 0x20500020: ("CS", shape) if shape else None}
    image = read_image(dicom(stored, tags))
    assert image.pixels[0].tolist() == ([1, 0.75, 0] if inverted else [0, 0.25, 1])
    assert any("contradicts" in note for note in image.warnings) == contradiction


def test_inversion_follows_the_window(dicom):
    stored = np.array([[0, 100, 150, 255]], np.uint8)
    tags = {0x00280004: ("CS", "MONOCHROME1"), 0x00281050: ("DS", [100]), 0x00281051: ("DS", [51])}
    assert shown(dicom(stored, tags))[0] == pytest.approx(1 - linear(stored[0], 100, 51), abs=1e-6)


def test_padding_is_left_out_of_the_range_and_black_after_inversion(dicom):
    stored = np.array([[-2000, 10, 20, 30]], np.int16)
    tags = {0x00280120: ("SS", -2000), 0x00280004: ("CS", "MONOCHROME1")}
    assert shown(dicom(stored, tags))[0].tolist() == [0, 1, 0.5, 0]


def test_padding_range(dicom):
    stored = np.array([[0, 3, 5, 6, 16]], np.uint16)
    tags = {0x00280120: ("US", 0), 0x00280121: ("US", 5)}
    assert shown(dicom(stored, tags))[0].tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(("kind", "padding", "vr", "written"), [
    (np.int16, -2000, "US", 63536), (np.int16, -32768, "US", 32768), (np.uint16, 63536, "SS", -2000),
])  # fmt: skip
def test_padding_written_with_the_other_sign(dicom, kind, padding, vr, written):
    # 63536 is -2000 in 16 bits: some writers give US to signed pixels, or SS to unsigned ones.
    stored = np.array([[padding, 0, 50, 100]], kind)
    assert shown(dicom(stored, {0x00280120: (vr, written)}))[0].tolist() == [0, 0, 0.5, 1]


@pytest.mark.parametrize(("word", "signed", "vr", "padding"), [
    (0x8FFF, 0, "US", 4095),  # an overlay in bit 15 is no part of the value
    (0x8000, 1, "SS", -32768),  # no 12 bits hold it: it stands in the whole word
    (0xF830, 1, "US", 63536),  # -2000 as a word of the other sign
])  # fmt: skip
def test_padding_of_12_bits_in_words_of_16(dicom, word, signed, vr, padding):
    tags = {0x00280101: ("US", 12), 0x00280102: ("US", 11), 0x00280103: ("US", signed), 0x00280120: (vr, padding)}
    path = dicom(np.uint16([[word, 0, 50, 100]]), {**tags, 0x00280004: ("CS", "MONOCHROME1")})
    assert shown(path)[0].tolist() == [0, 1, 0.5, 0]


def test_all_padding_is_black_and_announced(dicom):
    image = read_image(dicom(np.full((2, 2), 9, np.uint8), {0x00280120: ("US", 9)}))
    assert not image.pixels.any()
    assert "every pixel is padding" in image.warnings


def test_bits_beyond_bits_stored_are_cut_off(dicom):
    # 12 bits stored in 16, an overlay in bit 15 (PS3.5 8.1.1).
    stored = np.array([[0, 1024, 4095]], np.uint16)
    tags = {0x00280101: ("US", 12), 0x00280102: ("US", 11), 0x00281050: ("DS", [2048]), 0x00281051: ("DS", [4096])}
    clean = shown(dicom(stored, tags))
    assert shown(dicom(stored | np.uint16(0x8000), tags)).tolist() == clean.tolist()
    assert clean[0] == pytest.approx([0, 1024 / 4095, 1], abs=1e-6)


def test_sign_is_bit_11_of_12(dicom):
    # -1 in 12 bits is 0x0FFF; the upper 4 bits are not part of it.
    container = np.array([0x0FFF, 0x0000, 0x07FF, 0x0800], "<u2")
    tags = {0x00280101: ("US", 12), 0x00280102: ("US", 11), 0x00280103: ("US", 1)}
    path = dicom(container.tobytes(), tags, rows=1, columns=4, bits=16)
    assert shown(path)[0] == pytest.approx((np.array([-1, 0, 2047, -2048]) + 2048) / 4095)


def test_high_bit_above_bits_stored(dicom):
    # 12 bits in the upper part of 16: the value is the word / 16.
    tags = {0x00280101: ("US", 12), 0x00280102: ("US", 15)}
    path = dicom((np.array([[0, 5, 10]], np.uint16) << 4) | np.uint16(7), tags)
    assert shown(path)[0].tolist() == [0, 0.5, 1]


def test_slope_zero_is_refused(dicom):
    with pytest.raises(UnreadableImage, match="RescaleSlope is 0") as refusal:
        read_image(dicom(np.zeros((2, 2), np.uint8), {0x00281053: ("DS", [0])}))
    assert refusal.value.reason == "bad_rescale"


def test_a_good_file_gets_no_warning(dicom):
    assert read_image(dicom(np.arange(64, dtype=np.uint16).reshape(8, 8), WINDOW)).warnings == ()


@pytest.mark.parametrize(("kind", "middle"), [(np.int16, 0), (np.uint16, 40000), (np.int32, 1 << 20)])
def test_table_and_direct_evaluation_agree_to_the_bit(kind, middle):
    values = np.random.default_rng(0).integers(middle - 300, middle + 300, (64, 64)).astype(kind)

    def display(numbers):
        return (1 / (1 + np.exp((middle - numbers) / 37.0))).astype(np.float32)

    fast = _apply(display, values, values.min(), values.max())
    assert (fast == display(values.astype(np.float64))).all()


def test_pixels_are_float32_in_unit_range(dicom):
    pixels = shown(dicom(np.arange(256, dtype=np.uint16).reshape(16, 16), WINDOW))
    assert pixels.dtype == np.float32
    assert 0 <= pixels.min() <= pixels.max() <= 1


def test_rgb_of_a_gray_image_repeats_it(dicom):
    path = dicom(np.arange(16, dtype=np.uint8).reshape(4, 4))
    gray, rgb = shown(path), shown(path, color="rgb")
    assert rgb.shape == (4, 4, 3)
    assert (rgb == gray[..., None]).all()


def test_float_pixel_data(dicom, tmp_path):
    # (7FE0,0008) OF, 32 bits, no BitsStored (PS3.3 C.7.6.24).
    path = dicom(
        np.array([[-1.5, 0.5, 2.5, np.nan]], np.float32).tobytes(),
        {0x00280103: None, 0x00280101: None, 0x00280102: None},
        rows=1,
        columns=4,
        bits=32,
    )
    path.write_bytes(path.read_bytes().replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x08\x00OF"))
    image = read_image(path)
    assert image.pixels[0].tolist() == [0, 0.5, 1, 0]
    assert "pixels that are not finite, shown black: 1" in image.warnings


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_float_padding_is_left_out_of_the_range_and_black(dicom, syntax):
    # (0028,0122) and (0028,0124), PS3.3 C.7.6.24: the values are floats, in either VR encoding.
    values = np.array([[-1e30, -2e30, 0.5, 2.5, 1.5]], np.float32)
    tags = {0x00280103: None, 0x00280101: None, 0x00280102: None, 0x00280004: ("CS", "MONOCHROME1")}
    tags |= {0x00280122: ("FL", float(values[0, 0])), 0x00280124: ("FL", float(values[0, 1]))}
    path = dicom(values.tobytes(), tags, rows=1, columns=5, bits=32, syntax=syntax)
    data = path.read_bytes().replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x08\x00OF")
    path.write_bytes(data.replace(b"\xe0\x7f\x10\x00", b"\xe0\x7f\x08\x00"))
    image = read_image(path)
    assert image.pixels[0].tolist() == [0, 0, 1, 0, 0.5]
    assert any("FloatPixelPaddingValue -1e+30" in step and "2 pixels masked" in step for step in image.steps)


@pytest.mark.parametrize("name", [0x00283000, 0x00283010])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_tables_of_bytes_are_words_in_the_byte_order_of_the_file(dicom, name, syntax):
    # OW: 16-bit words, the first of two entries in the low byte (PS3.5 8.1.1).
    entries = np.array([0, 60, 120, 255], np.uint8)
    words = entries.view("<u2").astype(">u2" if syntax.endswith(".2.2") else "<u2").tobytes()
    table = {0x00283002: ("US", [4, 0, 8]), 0x00283004: ("LO", "US"), 0x00283006: ("OW", words)}
    values = np.array([[0, 1], [2, 3]], np.uint8)
    assert shown(dicom(values, {name: ("SQ", [table])}, syntax=syntax)) == pytest.approx(entries.reshape(2, 2) / 255)


@pytest.mark.parametrize("segmented", [False, True])
def test_palettes_of_bytes_are_words_in_the_byte_order_of_the_file(dicom, segmented):
    entries = [0, 60, 120, 255]
    data = np.array([0, 4, *entries] if segmented else entries, np.uint8).view("<u2").astype(">u2").tobytes()
    first = 0x00281221 if segmented else 0x00281201
    tags = {0x00280004: ("CS", "PALETTE COLOR")}
    tags |= {0x00281101 + n: ("US", [4, 0, 8]) for n in range(3)} | {first + n: ("OW", data) for n in range(3)}
    values = np.array([[0, 1], [2, 3]], np.uint8)
    path = dicom(values, tags, syntax="1.2.840.10008.1.2.2")
    assert shown(path) == pytest.approx(np.array(entries).reshape(2, 2) / 255)


@pytest.mark.parametrize(
    "factor", [1, 256, 257]
)  # in the low byte, as the standard has it, in the high one, or in both
def test_palettes_of_8_bits_may_stand_in_either_byte_of_their_words(dicom, factor):
    entries = np.array([0, 60, 120, 255])
    tags = {0x00280004: ("CS", "PALETTE COLOR")} | {0x00281101 + n: ("US", [4, 0, 8]) for n in range(3)}
    tags |= {0x00281201 + n: ("OW", (factor * entries).astype("<u2").tobytes()) for n in range(3)}
    assert shown(dicom(np.array([[0, 1], [2, 3]], np.uint8), tags)) == pytest.approx(entries.reshape(2, 2) / 255)


@pytest.mark.parametrize(
    ("syntax", "vr", "first"),
    [("1.2.840.10008.1.2", "SS", -3), ("1.2.840.10008.1.2.1", "SS", -3), ("1.2.840.10008.1.2.1", "US", 65533)],
)
def test_a_palette_of_signed_pixels_may_begin_below_zero(dicom, syntax, vr, first):
    """PS3.3 C.7.6.3.1.5: the second value of the descriptor is a pixel value; implicit files do not tell its VR."""
    entries = np.array([0, 60, 120, 255])
    tags = {0x00280004: ("CS", "PALETTE COLOR")} | {0x00281101 + n: (vr, [4, first, 8]) for n in range(3)}
    tags |= {0x00281201 + n: ("OW", entries.astype("<u2").tobytes()) for n in range(3)}
    path = dicom(np.array([[-3, -2], [-1, 0]], np.int16), tags, syntax=syntax)
    assert shown(path) == pytest.approx(entries.reshape(2, 2) / 255)


@pytest.mark.parametrize("presentation", ["COLOR", "MIXED"])
def test_a_palette_above_the_grays_is_no_gray_picture(dicom, presentation):
    """PS3.3 C.7.6.19: stored values from the palette's first on are colours (0008,9205); a window made them grays."""
    tags = {0x00089205: ("CS", presentation), 0x00281101: ("US", [2, 300, 16]), 0x00281201: ("OW", bytes(4))}
    with pytest.raises(UnreadableImage, match="some of its values are colours; export it in RGB") as told:
        read_image(dicom(np.array([[0, 100], [300, 301]], np.uint16), tags))
    assert told.value.reason == "unsupported_format"

"""The resize is the exact area mean, and its record maps points both ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medvlp.io import resize_pad
from medvlp.io.resize import fit_to

side = st.integers(1, 40)


def rounding(rows: int, columns: int) -> float:
    """Float32 bound of two inner products with weights that are rounded too (Higham 2002, eq. 3.5), values up to 1."""
    return (rows + 1 + columns + 1) * 2.0**-24


def area_mean(pixels, height, width):
    """The integral of the piecewise constant image over each new pixel, term by term."""
    rows, columns = pixels.shape
    result = np.zeros((height, width))
    for v in range(height):
        for u in range(width):
            y0, y1, x0, x1 = v * rows / height, (v + 1) * rows / height, u * columns / width, (u + 1) * columns / width
            total = 0.0
            for y in range(int(y0), min(rows, int(np.ceil(y1)))):
                for x in range(int(x0), min(columns, int(np.ceil(x1)))):
                    total += pixels[y, x] * (min(y + 1, y1) - max(y, y0)) * (min(x + 1, x1) - max(x, x0))
            result[v, u] = total / ((y1 - y0) * (x1 - x0))
    return result


@settings(max_examples=40, deadline=None)
@given(side, side, st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_shrinking_is_the_area_mean(rows, columns, size, seed):
    if size > max(rows, columns):
        size = max(rows, columns)
    pixels = np.random.default_rng(seed).random((rows, columns)).astype(np.float32)
    resized = resize_pad(pixels, size)
    fit = resized.fit
    inside = resized.pixels[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width]
    if fit.height <= rows and fit.width <= columns:
        assert inside == pytest.approx(area_mean(pixels, fit.height, fit.width), abs=rounding(rows, columns))


@settings(max_examples=40, deadline=None)
@given(side, side, st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_by_area_as_released_models_see_it_a_picture_that_grows_is_the_area_mean_too(rows, columns, size, seed):
    pixels = np.random.default_rng(seed).random((rows, columns)).astype(np.float32)
    shown = fit_to(pixels, size, fit="squeeze", resample="area")[0]
    assert shown == pytest.approx(area_mean(pixels, size, size), abs=rounding(rows, columns))


@pytest.mark.parametrize("columns", range(20, 33))
def test_what_is_padded_to_a_larger_square_and_cut_is_rounded_twice(columns):
    """As GLoRIA, MGCA and CARZero: black on both sides, the smaller half in front, then the middle."""
    pixels = np.random.default_rng(columns).random((32, columns)).astype(np.float32)
    front, behind = (32 - columns) // 2, (33 - columns) // 2
    padded = np.pad(pixels, ((0, 0), (front, behind)))
    shown, corners = fit_to(pixels, 28, fit="pad", resample="area", resize=32)
    assert np.array_equal(shown, padded[2:30, 2:30])
    assert corners == (2 - front, 2, 30 - front, 30)


def test_a_picture_smaller_than_the_square_that_it_is_padded_to_is_not_enlarged():
    """As MedCLIP's processor: the canvas has at least the side that is wanted."""
    pixels = np.float32([[0.2, 0.4, 0.6], [1, 0.8, 0]])
    shown, corners = fit_to(pixels, 6, fit="square_pad", resample="bicubic")
    assert shown[2:4, 1:4] == pytest.approx(pixels)
    assert shown.sum() == pytest.approx(pixels.sum())
    assert corners == (-1, -2, 5, 4)


@example(31, 38, 1)
@given(side, side, st.integers(1, 60))
def test_a_constant_stays_constant_and_the_rest_is_black(rows, columns, size):
    resized = resize_pad(np.ones((rows, columns), np.float32), size)
    fit = resized.fit
    inside = np.zeros((size, size), bool)
    inside[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width] = True
    assert resized.pixels[inside] == pytest.approx(1, abs=rounding(rows, columns))
    assert not resized.pixels[~inside].any()
    assert resized.pixels.dtype == np.float32


@given(side, side, st.integers(1, 60))
def test_aspect_is_kept_and_the_image_is_centred(rows, columns, size):
    fit = resize_pad(np.zeros((rows, columns), np.float32), size).fit
    assert max(fit.height, fit.width) == size
    assert fit.scale == size / max(rows, columns)
    assert abs(fit.height - max(1, rows * fit.scale)) <= 0.5
    assert abs(fit.width - max(1, columns * fit.scale)) <= 0.5
    assert 0 <= (size - fit.height - 2 * fit.top) <= 1
    assert 0 <= (size - fit.width - 2 * fit.left) <= 1


@given(side, side, st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
def test_the_map_is_affine_and_takes_corners_to_corners(rows, columns, size, x, y):
    fit = resize_pad(np.zeros((rows, columns), np.float32), size).fit
    assert fit.to_source(fit.left, fit.top) == (0, 0)
    assert fit.to_source(fit.left + fit.width, fit.top + fit.height) == pytest.approx((columns, rows))
    inside = fit.left + x * fit.width, fit.top + y * fit.height
    assert fit.to_source(*inside) == pytest.approx((x * columns, y * rows))


def test_a_box_lies_over_the_same_pixels_in_the_view():
    pixels = np.zeros((100, 60), np.float32)
    pixels[20:40, 10:30] = 1
    resized = resize_pad(pixels, 50)
    (x0, y0), (x1, y1) = (15, 10), (25, 20)  # half the size, ten columns of padding on either side
    assert (resized.fit.to_source(x0, y0), resized.fit.to_source(x1, y1)) == ((10, 20), (30, 40))
    expected = np.zeros((50, 50))
    expected[y0:y1, x0:x1] = 1
    assert (resized.pixels == expected).all()


def test_the_right_size_is_untouched():
    pixels = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    assert (resize_pad(pixels, 32).pixels == pixels).all()


def test_enlarging_interpolates_between_pixel_centres():
    resized = resize_pad(np.array([[0, 1], [0, 1]], np.float32), 4)
    assert resized.pixels.tolist() == [[0, 0.25, 0.75, 1]] * 4


def test_single_precision_decides_no_half():
    """12 rows of 0.8 mm and 9 columns of 0.9 mm make 13.5 columns of 16, in DICOM's digits and in NIfTI's."""
    pixels = np.ones((12, 9), np.float32)
    for spacing in ((0.8, 0.9), (float(np.float32(0.8)), float(np.float32(0.9)))):
        fit = resize_pad(pixels, 16, spacing=spacing).fit
        assert (fit.height, fit.width) == (16, 14)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="resize_pad needs pixels"):
        resize_pad(np.zeros((2, 2, 3), np.float32), 4)

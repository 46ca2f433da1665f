"""The grayscale functions are those of PS3.3 C.11.2, written here as the standard writes them."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.io.errors import UnreadableImage
from medvlp.io.lut import LookupTable, Rescale, full_range, lookup_table, padding_mask, percentile_range, window


def linear(x: float, c: float, w: float) -> float:
    """C.11.2.1.2.1 with ymin 0 and ymax 1."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 1.0
    return (x - (c - 0.5)) / (w - 1) + 0.5


def linear_exact(x: float, c: float, w: float) -> float:
    """C.11.2.1.3.2."""
    if x <= c - w / 2:
        return 0.0
    if x > c + w / 2:
        return 1.0
    return (x - c) / w + 0.5


def sigmoid(x: float, c: float, w: float) -> float:
    """C.11.2.1.3.1."""
    return 1 / (1 + math.exp(-4 * (x - c) / w))


number = st.integers(-3000, 3000)
halves = st.integers(-6000, 6000).map(lambda twice: twice / 2)  # centres: values then fall onto c - 0.5
values = st.lists(number, min_size=1, max_size=20)


@given(values, halves, st.integers(1, 4096))
def test_linear_is_the_standards(xs, c, w):
    assert window(np.array(xs), c, w) == pytest.approx([linear(x, c, w) for x in xs], abs=1e-12)


@given(values, number, st.integers(1, 4096))
def test_linear_exact_is_the_standards(xs, c, w):
    assert window(np.array(xs), c, w, "LINEAR_EXACT") == pytest.approx([linear_exact(x, c, w) for x in xs], abs=1e-12)


@given(values, number, st.integers(32, 4096))
def test_sigmoid_is_the_standards(xs, c, w):
    xs = [x for x in xs if abs(x - c) < 100 * w]
    assert window(np.array(xs), c, w, "SIGMOID") == pytest.approx([sigmoid(x, c, w) for x in xs], abs=1e-12)


def test_linear_examples_of_the_standard():
    # C.11.2.1.2.1: c=2048, w=4096 maps 0 to 0 and 4095 to 1 for 12 bits; c=2048, w=1 is a threshold at 2048.
    assert window(np.array([0, 4095]), 2048, 4096).tolist() == [0.0, 1.0]
    assert window(np.array([2047, 2048]), 2048, 1).tolist() == [0.0, 1.0]
    # c=0, w=100: x <= -50 is 0, x > 49 is 1; and c=0, w=1: x <= -0.5 is 0, x > -0.5 is 1.
    assert window(np.array([-50, 49, 50]), 0, 100).tolist() == [0.0, 1.0, 1.0]
    assert window(np.array([-1.0, -0.5, -0.25]), 0, 1).tolist() == [0.0, 0.0, 1.0]


def test_sigmoid_does_not_overflow_far_away():
    with np.errstate(all="raise"):
        assert window(np.array([-1e6, 1e6]), 0, 1, "SIGMOID") == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(
    ("w", "function"), [(0.5, "LINEAR"), (0, "LINEAR_EXACT"), (-1, "SIGMOID"), (math.nan, "LINEAR")]
)
def test_widths_that_the_standard_forbids_are_refused(w, function):
    with pytest.raises(ValueError, match=r"Width|finite"):
        window(np.zeros(1), 0, w, function)


def test_lookup_ends_extend_to_both_sides():
    # C.11.2.1.1: below the first mapped value the first entry, above the last the last.
    table = LookupTable(np.array([7, 8, 9]), first=-1, bits=8)
    assert table(np.array([-5, -1, 0, 1, 2, 100])).tolist() == [7, 7, 8, 9, 9, 9]


def test_rescaled_values_that_lie_a_bit_below_a_whole_number_are_that_number():
    assert Rescale(0.57, -56.0)(np.array([100.0])) < 1
    assert LookupTable(np.array([7, 8, 9]), first=0, bits=8)(Rescale(0.57, -56.0)(np.array([100.0]))).tolist() == [8]


def test_descriptor_count_0_means_65536():
    table = lookup_table((0, 0, 16), np.arange(65536, dtype="<u2").tobytes(), "<", name="X")
    assert table(np.array([65535])).tolist() == [65535.0]


def test_8_bit_entries_may_lie_in_bytes_or_words():
    in_bytes = lookup_table((4, 0, 8), bytes([1, 2, 3, 4]), "<", name="X")
    in_words = lookup_table((4, 0, 8), np.array([1, 2, 3, 4], ">u2").tobytes(), ">", name="X")
    assert in_bytes(np.arange(4)).tolist() == in_words(np.arange(4)).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("descriptor", "data"),
    [((4, 0), b"12345678"), ((4, 0, 17), b"12345678"), ((4, 0, 16), b"123456"), ((1, 0, 4), b"\x10\0")],
)
def test_tables_that_contradict_their_descriptor_are_refused(descriptor, data):
    with pytest.raises(UnreadableImage) as refusal:
        lookup_table(descriptor, data, "<", name="VOILUTSequence")
    assert refusal.value.reason == "bad_lut"


def test_padding_range_includes_both_ends_in_either_order():
    stored = np.array([9, 10, 15, 20, 21])
    expected = [False, True, True, True, False]
    assert padding_mask(stored, 10, 20).tolist() == padding_mask(stored, 20, 10).tolist() == expected


def test_full_range_of_one_value_is_black():
    assert full_range(np.full(3, 7.0), 7, 7).tolist() == [0, 0, 0]


def test_percentiles_of_a_volume_take_one_copy_of_it_and_leave_it_as_it_was():
    volume = np.random.default_rng(0).normal(300, 50, (64, 128, 128)).astype(np.float32)
    volume[:8], volume[8, 0, 0] = 0, np.nan
    before = volume.copy()
    tracemalloc.start()
    found = percentile_range(volume, 0.5, 99.5)
    _, held = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    known = before[np.isfinite(before) & (before != 0)]
    assert found == tuple(np.percentile(known, [0.5, 99.5]).tolist())
    assert held < 2 * volume.nbytes
    assert np.array_equal(volume, before, equal_nan=True)

"""What a model says of pictures: masks are their pixels, rows stay beside their ids, pieces are the whole."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medvlp.core.errors import DataError
from medvlp.core.predictions import BoxSet, Mask, PairScores, Predictions

SHAPES = arrays.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9)


def predictions(count: int, *, seed: int = 0) -> Predictions:
    """Every part, of `count` pictures of different sizes."""
    draw = np.random.default_rng(seed)
    sizes = [(2 + i, 3) for i in range(count)]
    return Predictions(
        tuple(f"r{i}" for i in range(count)),
        scores={"edema": draw.random(count), "mass": np.where(np.arange(count) % 2, np.nan, draw.random(count))},
        embedding=draw.random((count, 4)).astype(np.float32),
        similarity=draw.random((count, 3)),
        compared=("a", "b", "c"),
        pairs=PairScores(
            ("left", "right"),
            ("edema",),
            draw.random((count, 2, 1)).astype(np.float32),
            np.array([[True], [False]]),
            draw.random((count, 1)).astype(np.float32),
        ),
        maps={"edema": tuple(draw.random(size).astype(np.float32) for size in sizes)},
        boxes=tuple(BoxSet(draw.random((i, 4)), draw.random(i), ("edema",) * i) for i in range(count)),
        masks=tuple({"edema": Mask.of(draw.random(size) > 0.5)} for size in sizes),
        text=tuple(f"words {i}" for i in range(count)),
        notes=("known of all",),
    )


def same(one: Predictions, other: Predictions) -> None:
    """Every number and word, in the same form."""
    assert (one.ids, one.parts(), one.compared, one.text, one.notes) == (
        other.ids,
        other.parts(),
        other.compared,
        other.text,
        other.notes,
    )
    assert one.pairs is not None
    assert other.pairs is not None
    assert (one.pairs.places, one.pairs.findings) == (other.pairs.places, other.pairs.findings)
    np.testing.assert_array_equal(one.pairs.known, other.pairs.known)  # type: ignore[arg-type]
    for a, b in zip(numbers(one), numbers(other), strict=True):
        np.testing.assert_array_equal(a, b)


def numbers(said: Predictions) -> list[Any]:
    assert said.pairs is not None
    found: list[Any] = [said.embedding, said.similarity, said.pairs.values, said.pairs.present]
    found += list((said.scores or {}).values())
    found += [each for several in (said.maps or {}).values() for each in several]
    found += [part for each in said.boxes or () for part in (each.boxes, each.scores, np.array(each.labels))]
    return found + [mask.array() for each in said.masks or () for mask in each.values()]


@given(SHAPES.flatmap(lambda shape: arrays.arrays(bool, shape)))
def test_a_mask_is_its_pixels_and_its_runs_are_counted_along_the_last_axis(values: np.ndarray) -> None:
    mask = Mask.of(values)
    np.testing.assert_array_equal(mask.array(), values)
    assert mask.shape == values.shape
    assert int(mask.runs[1::2].sum()) == values.sum()
    assert (mask.runs[1:] > 0).all()  # the first alone may be of no length
    np.testing.assert_array_equal(Mask(mask.shape, mask.runs).array(), values)
    slow = [0]
    for pixel in values.reshape(-1).tolist():
        if pixel != (len(slow) % 2 == 0):
            slow.append(0)
        slow[-1] += 1
    assert mask.runs.tolist() == slow


@given(arrays.arrays(bool, SHAPES))
def test_a_mask_of_a_view_or_of_reversed_axes_is_that_of_its_copy(values: np.ndarray) -> None:
    np.testing.assert_array_equal(Mask.of(values.T).array(), np.ascontiguousarray(values.T))
    np.testing.assert_array_equal(Mask.of(values[::-1]).array(), values[::-1].copy())


def test_runs_that_do_not_fill_the_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"The runs of a mask cover 5 pixels, its shape is \(2, 3\)"):
        Mask((2, 3), np.array([1, 4]))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(0, 99))
def test_pieces_joined_are_the_whole(sizes: list[int], seed: int) -> None:
    whole = predictions(sum(sizes), seed=seed)
    ends = np.cumsum([0, *sizes])
    pieces = [whole.rows(list(range(a, b))) for a, b in pairwise(ends)]
    same(Predictions.join(pieces), whole)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_rows_are_those_of_their_ids(index: list[int]) -> None:
    whole = predictions(5)
    some = whole.rows(index)
    assert some.ids == tuple(f"r{i}" for i in index)
    for n, i in enumerate(index):
        same(some.rows([n]), whole.rows([i]))


def test_a_part_of_another_number_of_rows_is_refused() -> None:
    with pytest.raises(DataError, match="Predictions of 2 rows have 1 of 'edema'"):
        Predictions(("a", "b"), scores={"edema": np.zeros(1)})
    with pytest.raises(DataError, match="Predictions of 1 rows have 2 of 'text'"):
        Predictions(("a",), text=("x", "y"))
    with pytest.raises(DataError, match="Predictions of 1 rows have 3 of 'pairs'"):
        Predictions(("a",), pairs=PairScores(("left",), ("edema",), np.zeros((3, 1, 1), np.float32)))


def test_a_pair_is_stated_of_what_is_known_and_there_by_itself_highest_first() -> None:
    values = np.array([[[0.9, 0.7], [0.8, 0.3]]], np.float32)
    pairs = PairScores(("left", "right"), ("effusion", "nodule"), values)
    assert [(f, p) for f, p, _ in pairs.stated(0)] == [("effusion", "left"), ("effusion", "right"), ("nodule", "left")]
    assert [(f, p) for f, p, _ in pairs.stated(0, most=1)] == [("effusion", "left")]
    assert len(pairs.stated(0, least=0.0)) == 4
    known = np.array([[False, True], [True, True]])
    told = PairScores(pairs.places, pairs.findings, values, known)
    assert [(f, p) for f, p, _ in told.stated(0)] == [("effusion", "right"), ("nodule", "left")]
    assert len(told.stated(0, least=-1.0)) == 3  # what is not known is stated at no score
    there = PairScores(pairs.places, pairs.findings, values, known, np.array([[0.4, 0.6]], np.float32))
    assert [(f, p) for f, p, _ in there.stated(0)] == [("nodule", "left")]

"""Dice by a loop over pixels, unknown apart from empty; average precision by its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.predictions import BoxSet, Mask
from medvlp.evaluation.dense import boxes_ap, case_dice, detections


def test_dice_is_a_loop_over_pixels_and_unknown_is_nan() -> None:
    draw = np.random.default_rng(1)
    one, two = draw.random((2, 6, 5)) > 0.5
    both = sum(bool(one[i, j]) and bool(two[i, j]) for i in range(6) for j in range(5))
    sizes = sum(int(one[i, j]) + int(two[i, j]) for i in range(6) for j in range(5))
    empty = np.zeros((6, 5), bool)
    predicted = [{"a": Mask.of(one), "b": Mask.of(empty)}, {"a": Mask.of(one), "b": Mask.of(one)}, {}]
    truth = [{"a": two, "b": empty}, {"a": None, "b": empty}, {"a": two}]
    found = case_dice(predicted, truth, ["a", "b"])
    np.testing.assert_allclose(found, [[2 * both / sizes, 1.0], [np.nan, 0.0], [np.nan, np.nan]])
    with pytest.raises(ValueError, match=r"The mask of 'a' in case 0 is \(6, 5\) and its truth \(5, 6\)"):
        case_dice(predicted[:1], [{"a": two.T}], ["a"])


def boxes(draw: np.random.Generator, count: int) -> np.ndarray:
    corner = draw.random((count, 2)) * 6
    return np.concatenate([corner, corner + 1 + draw.random((count, 2)) * 3], axis=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_average_precision_is_the_mean_precision_at_each_true_box_found(seed: int) -> None:
    draw = np.random.default_rng(seed)
    said = [BoxSet(boxes(draw, 4), draw.random(4), ("a", "a", "b", "a")) for _ in range(5)]
    truth = [{"a": boxes(draw, int(draw.integers(0, 3)))} for _ in range(4)] + [{}]
    count = sum(len(known["a"]) for known in truth[:4])
    found = detections(said, [known.get("a") for known in truth], "a", iou=0.3)
    assert set(found.owner) <= {0, 1, 2, 3}  # the last case is unknown
    order = np.argsort(-found.score)
    hits = found.hit[order]
    precisions = [hits[: i + 1].mean() for i in range(len(hits)) if hits[i]]
    got = boxes_ap(said, truth, ["a"], iou=0.3)[0, 0]
    assert np.isnan(got) if count == 0 else got == pytest.approx(sum(precisions) / count)


def test_a_case_that_weighs_two_counts_twice() -> None:
    draw = np.random.default_rng(3)
    said = [BoxSet(boxes(draw, 3), draw.random(3), ("a",) * 3) for _ in range(3)]
    truth = [{"a": boxes(draw, 2)} for _ in range(3)]
    weighted = boxes_ap(said, truth, ["a"], iou=0.2, weights=np.array([[2.0], [0.0], [1.0]]))
    drawn = [0, 0, 2]
    repeated = boxes_ap([said[i] for i in drawn], [truth[i] for i in drawn], ["a"], iou=0.2)
    np.testing.assert_allclose(weighted, repeated)

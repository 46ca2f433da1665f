"""A picture is its form and its detail; in a conflict each comes from another picture."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.measures.shape_texture import in_conflict, low_pass, shuffled

COARSE = 0.05


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.3, 0.7, (1, 64, 48)).astype(np.float32)


def test_form_and_detail_of_one_picture_are_that_picture() -> None:
    one = picture(0)
    assert in_conflict(one, one, COARSE) == pytest.approx(one, abs=1e-6)
    assert in_conflict(picture(1), one, COARSE).min() >= 0
    flat = np.full((2, 9, 9), 0.4, np.float32)
    assert low_pass(flat, 0.3) == pytest.approx(flat, abs=1e-6)


def test_who_sees_form_alone_follows_form_and_who_sees_detail_alone_follows_detail() -> None:
    """The share of pairs (a, b) in which form of a and detail of b scores above the reverse is 1 or 0."""
    ramp = np.linspace(0.3, 0.7, 48, dtype=np.float32)[None, None].repeat(64, axis=1)
    draw = np.random.default_rng(0)
    # With the finding the picture rises to the right, and its grain is coarse.
    pairs = []
    for _ in range(5):
        grain = 0.1 * draw.choice([-1.0, 1.0], (2, 1, 64, 48)).astype(np.float32)
        pairs.append((ramp + grain[0], ramp[..., ::-1] + 0.1 * grain[1]))
    form = lambda x: float(low_pass(x, COARSE)[..., 40:].mean() - low_pass(x, COARSE)[..., :8].mean())  # noqa: E731
    detail = lambda x: float((x - low_pass(x, COARSE)).std())  # noqa: E731
    for score, share in ((form, 1.0), (detail, 0.0)):
        wins = [score(in_conflict(a, b, COARSE)) > score(in_conflict(b, a, COARSE)) for a, b in pairs]
        assert np.mean(wins) == share


def test_a_shuffled_picture_has_all_of_its_pieces_and_no_arrangement() -> None:
    one = picture(3)
    cut = shuffled(one, 8, name="a")
    assert np.array_equal(np.sort(cut, axis=None), np.sort(one, axis=None))
    pieces = lambda x: {x[:, i : i + 8, j : j + 6].tobytes() for i in range(0, 64, 8) for j in range(0, 48, 6)}  # noqa: E731
    assert pieces(cut) == pieces(one)
    assert np.array_equal(cut, shuffled(one, 8, name="a"))
    assert not np.array_equal(cut, shuffled(one, 8, name="b"))
    assert not np.array_equal(cut, shuffled(one, 8, name="a", seed=1))
    # What does not fill a piece stays.
    odd = picture(4)[:, :61, :45]
    assert np.array_equal(shuffled(odd, 8, name="a")[:, 56:], odd[:, 56:])

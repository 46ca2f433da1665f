"""MONAI's transforms move all slices alike, keep their places, and never mirror."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.sample import Sample, Stack
from medvlp.data.pipeline import apply_views
from medvlp.data.stacks import MadeStack
from medvlp.data.views.augment3d import Augment3d

SIDE = 48
MOVE = Augment3d(contrast=0, brightness=0, gamma=0, noise=0, degrees=15, zoom=0.2, shift=0.1)
STILL = {"degrees": 0.0, "zoom": 0.0, "shift": 0.0}


def changed(view: Augment3d, stack: Stack, draw: int) -> Stack:
    out = apply_views(Sample("a", {"stack": stack}), [view], draw=draw).fields["stack"]
    assert isinstance(out, Stack)
    assert type(out.pixels) is torch.Tensor
    return out


def spots() -> Stack:
    """Three spots, which a mirrored picture would show in the other order of turning."""
    pixels = torch.zeros(2, 3, SIDE, SIDE)
    for channel, (row, column) in enumerate(((24, 24), (12, 24), (24, 34))):  # middle, above it, to its right hand
        pixels[:, channel, row - 1 : row + 2, column - 1 : column + 2] = 1
    return Stack(pixels, torch.tensor([[0.0, 0, 0], [0, 0, 3]]))


def middles(picture: torch.Tensor) -> torch.Tensor:
    """Centre of mass (x, y) of each channel."""
    grid = torch.arange(SIDE).float()
    mass = picture.sum((1, 2))
    return torch.stack([(picture.sum(1) @ grid) / mass, (picture.sum(2) @ grid) / mass], 1)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_it_never_mirrors_and_turns_zooms_and_shifts_within_its_ranges(seed: int) -> None:
    out = changed(MOVE, spots(), seed)
    middle, above, right = middles(out.pixels[0])
    up, aside = above - middle, right - middle
    # The turn from up to aside is clockwise in the picture, as it was: a mirrored one would be anticlockwise.
    assert float(up[0] * aside[1] - up[1] * aside[0]) > 0
    turn = torch.rad2deg(torch.atan2(aside[1], aside[0]))
    assert abs(float(turn)) <= 16
    assert abs(float(up @ aside)) < 4, "one zoom in both directions keeps a right angle"
    assert 10 / 1.22 <= float(aside.norm()) <= 10 * 1.22
    assert float((middle - 24).abs().max()) <= 0.1 * SIDE * 1.2 + 0.6


def test_all_slices_and_windows_move_alike_and_places_stay() -> None:
    picture = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    stack = Stack(picture.expand(4, 3, SIDE, SIDE).clone(), torch.rand(4, 3))
    out = changed(MOVE, stack, 7)
    assert not torch.allclose(out.pixels, stack.pixels, atol=1e-2)
    assert torch.equal(out.pixels, out.pixels[:1, :1].expand_as(out.pixels))
    assert torch.equal(out.position, stack.position)


def test_outside_the_picture_is_black() -> None:
    out = changed(
        Augment3d(**STILL | {"shift": 0.4}, contrast=0, brightness=0, gamma=0, noise=0),
        Stack(torch.ones(1, 1, SIDE, SIDE), torch.zeros(1, 3)),
        3,
    )
    assert set(out.pixels.round().unique().tolist()) == {0.0, 1.0}


@given(seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_brighter_stays_brighter_and_pixels_stay_in_the_unit_interval(seed: int) -> None:
    ramp = torch.linspace(0, 1, 256).reshape(1, 1, 16, 16)
    out = changed(Augment3d(**STILL, noise=0), Stack(ramp, torch.zeros(1, 3)), seed)
    assert bool((out.pixels.flatten().diff() >= -1e-6).all()), "an inversion"
    noisy = changed(Augment3d(**STILL, noise=0.4), Stack(ramp, torch.zeros(1, 3)), seed)
    assert 0 <= float(noisy.pixels.min()) <= float(noisy.pixels.max()) <= 1


def test_a_draw_is_a_function_of_its_seed_alone() -> None:
    stack = Stack(torch.rand(3, 1, 16, 16), torch.rand(3, 3))
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    first = changed(Augment3d(), stack, 5)
    other = changed(Augment3d(), stack, 6)
    again = changed(Augment3d(), stack, 5)
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, other.pixels)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1], "the global generator was used"  # type: ignore[index, union-attr]


def test_a_stack_that_nobody_took_is_taken_whole_and_probability_zero_leaves_it() -> None:
    pixels = torch.rand(3, 1, 8, 8)
    lazy = MadeStack(lambda n: pixels[n], torch.zeros(3, 3), (1, 8, 8))
    out = apply_views(Sample("a", {"stack": lazy}), [Augment3d(noise=0)]).fields["stack"]
    assert isinstance(out, Stack)
    assert apply_views(Sample("a", {"stack": lazy}), [Augment3d(probability=0)]).fields["stack"] is lazy


def test_features_are_refused() -> None:
    with pytest.raises(DataError, match="augment3d changes pictures, and 'stack' of 'a' holds features: leave it out"):
        changed(Augment3d(), Stack(torch.rand(2, 16, 1, 1), torch.zeros(2, 3)), 0)


@pytest.mark.parametrize(
    "options", [{"degrees": 16.0}, {"zoom": 0.5}, {"noise": -0.1}, {"field": "image"}, {"probability": 2.0}]
)
def test_an_option_out_of_range_is_one_sentence(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^augment3d takes a stack field.*change these\.$"):
        Augment3d(**options)  # type: ignore[arg-type]

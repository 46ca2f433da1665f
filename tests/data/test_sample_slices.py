"""Slices are chosen by where they lie: sorted, each once, inside the reach, spread over it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError
from medvlp.core.sample import Sample, Stack
from medvlp.data.pipeline import apply_views
from medvlp.data.stacks import MadeStack
from medvlp.data.views.sample_slices import SampleSlices

DEPTH, COUNT, SEED = st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**31)
GAPS = st.lists(st.floats(0.2, 9), min_size=60, max_size=60)


def places(gaps: list[float], depth: int, *, turned: bool = False) -> torch.Tensor:
    along = torch.tensor(gaps[:depth]).cumsum(0)
    line = torch.tensor([0.3, -0.4, 0.866]) if turned else torch.tensor([0.0, 0.0, 1.0])
    return along[:, None] * line + torch.tensor([40.0, -70.0, -300.0])


def chosen(view: SampleSlices, position: torch.Tensor, draw: int = 0) -> list[int]:
    return view.choose(position, torch.Generator().manual_seed(draw))


@given(depth=DEPTH, count=COUNT, gaps=GAPS, seed=SEED, how=st.sampled_from(["even", "jittered"]), turned=st.booleans())
@settings(max_examples=200, deadline=None)
def test_chosen_slices_are_sorted_unique_and_as_many_as_asked_for(
    depth: int, count: int, gaps: list[float], seed: int, how: str, turned: bool
) -> None:
    found = chosen(SampleSlices(count=count, how=how), places(gaps, depth, turned=turned), seed)  # type: ignore[arg-type]
    assert found == sorted(set(found))
    assert len(found) == min(count, depth)
    assert set(found) <= set(range(depth))


@given(depth=DEPTH, count=COUNT, gaps=GAPS, seed=SEED)
@settings(max_examples=100, deadline=None)
def test_even_is_jittered_without_jitter_and_draws_nothing(
    depth: int, count: int, gaps: list[float], seed: int
) -> None:
    position = places(gaps, depth)
    even = chosen(SampleSlices(count=count), position, seed)
    assert even == chosen(SampleSlices(count=count), position, seed + 1)
    middle = SampleSlices(count=count, how="jittered")
    half = torch.full((count,), 0.5, dtype=torch.float64)
    original = torch.rand
    try:
        torch.rand = lambda *a, **k: half  # type: ignore[assignment, misc]
        assert middle.choose(position, torch.Generator()) == even
    finally:
        torch.rand = original
    assert not SampleSlices(count=count).random
    assert middle.random


@given(count=st.integers(1, 12), times=st.integers(1, 6), seed=SEED)
@settings(max_examples=60, deadline=None)
def test_each_part_of_the_reach_gives_one_slice(count: int, times: int, seed: int) -> None:
    """Equal steps, a whole number of slices a part: the draw of a part stays in its part."""
    position = places([2.0] * 80, count * times)
    for how in ("even", "jittered"):
        found = chosen(SampleSlices(count=count, how=how), position, seed)  # type: ignore[arg-type]
        assert [slice_ // times for slice_ in found] == list(range(count))


def test_a_denser_stack_of_the_same_body_gives_slices_at_the_same_places() -> None:
    thick, thin = places([4.0] * 12, 12), places([1.0] * 48, 48) + torch.tensor([0, 0, 1.5])
    a, b = (position[chosen(SampleSlices(count=6), position)][:, 2] for position in (thick, thin))
    assert float((a - b).abs().max()) <= 4


@pytest.mark.parametrize("step", [0.7, 1.25, 3.27, 5.0])
def test_single_precision_chooses_no_slice(step: float) -> None:
    """Eight of sixteen: every point lies in the middle between two slices, which a file's rounding must not decide."""
    exact = torch.arange(16.0)[:, None] * torch.tensor([0.0, 0.0, step]) + torch.tensor([-20.0, 30.0, -310.03])
    for seed in range(20):
        rounded = exact + torch.rand(exact.shape, generator=torch.Generator().manual_seed(seed)) * 6e-5
        assert chosen(SampleSlices(count=8), rounded) == list(range(0, 16, 2))


def test_where_slices_lie_densely_no_more_are_taken() -> None:
    """40 slices in 4 mm, then 8 in 80 mm: a choice by number would take most from the 4 mm."""
    position = places([0.1] * 40 + [10.0] * 8, 48)
    found = chosen(SampleSlices(count=8), position)
    assert sum(number < 40 for number in found) <= 2


@given(depth=DEPTH, count=COUNT, gaps=GAPS, seed=SEED, mm=st.floats(0.1, 200))
@settings(max_examples=150, deadline=None)
def test_a_chunk_is_one_run_no_longer_than_it_may_be(
    depth: int, count: int, gaps: list[float], seed: int, mm: float
) -> None:
    position = places(gaps, depth)
    found = chosen(SampleSlices(count=count, how="chunk", mm=mm), position, seed)
    assert 1 <= len(found) <= min(count, depth)
    assert found == sorted(set(found))
    assert float(position[found[-1], 2] - position[found[0], 2]) <= mm + 1e-3
    if len(found) < count:
        assert found == list(range(found[0], found[-1] + 1)), "a run has no holes where all of it may be taken"


@pytest.mark.parametrize(("depth", "reach"), [(78, 235.0), (100, 301.5), (33, 100.0), (100, 300.0), (104, 310.5)])
def test_a_chunk_of_a_whole_number_of_slices_has_as_many_where_steps_are_a_little_longer(
    depth: int, reach: float
) -> None:
    """96 mm are 32 slices of 3 mm, and of the 3.01 that a volume of 235 mm has: a 3D network needs one number."""
    position = torch.arange(depth)[:, None] * torch.tensor([0.0, 0.0, reach / depth]) - 120
    view = SampleSlices(count=32, how="chunk", mm=96.0)
    assert {len(chosen(view, position, seed)) for seed in range(300)} == {32}


def test_every_chunk_is_equally_likely() -> None:
    position = places([1.0] * 60, 10)
    view = SampleSlices(count=10, how="chunk", mm=2.0)
    starts = [chosen(view, position, seed)[0] for seed in range(2000)]
    middle = [starts.count(n) for n in range(1, 7)]
    assert all(abs(count - 2000 / 8) < 5 * (2000 / 8) ** 0.5 for count in middle)


@given(order=st.permutations(range(9)), seed=SEED)
@settings(max_examples=40, deadline=None)
def test_slices_may_come_in_any_order(order: list[int], seed: int) -> None:
    position = places([2.0] * 9, 9)
    for how in ("even", "jittered"):
        view = SampleSlices(count=4, how=how)  # type: ignore[arg-type]
        along = sorted(position[order][chosen(view, position[order], seed)][:, 2].tolist())
        forwards = position[chosen(view, position, seed)][:, 2].tolist()
        backwards = position.flip(0)[chosen(view, position.flip(0), seed)][:, 2].tolist()[::-1]
        assert along in (forwards, backwards)


def test_frames_of_a_cine_have_numbers_for_places_and_slices_at_one_place_are_chosen_by_number() -> None:
    cine = torch.stack([torch.zeros(8), torch.zeros(8), torch.arange(8.0)], 1)
    assert chosen(SampleSlices(count=4), cine) == [0, 2, 4, 6]
    assert chosen(SampleSlices(count=4), torch.zeros(8, 3)) == [0, 2, 4, 6]


def test_made_and_lazy_stacks_give_the_same_and_others_are_passed() -> None:
    pixels, position = torch.rand(7, 1, 2, 2), places([3.0] * 7, 7)
    lazy = MadeStack(lambda n: pixels[n], position, (1, 2, 2))
    view = SampleSlices(count=3, how="jittered")
    one, other = (
        apply_views(Sample("a", {"stack": s}), [view], draw=4).fields["stack"] for s in (lazy, Stack(pixels, position))
    )
    assert isinstance(one, Stack)
    assert isinstance(other, Stack)
    assert torch.equal(one.pixels, other.pixels)
    assert torch.equal(one.position, other.position)
    assert view(Sample("a", {"text": "x"}), torch.Generator()).fields == {"text": "x"}


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"field": "image"}, {"how": "chunk"}, {"mm": 5.0}, {"how": "chunk", "mm": -1.0}]
)
def test_an_option_out_of_range_is_one_sentence(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^sample_slices .*change (these|one)\.$"):
        SampleSlices(**options)  # type: ignore[arg-type]

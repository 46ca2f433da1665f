from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.schedules import Ramp, mean_between, value_at


@given(st.integers(-5, 300), st.sampled_from(["linear", "cosine"]))
def test_a_ramp_is_constant_outside_and_monotone_inside(samples: int, shape: str) -> None:
    ramp = Ramp(start=1.0, end=3.0, begin=50, until=150, shape=shape)
    value = value_at(ramp, samples)
    assert value == 1.0 if samples <= 50 else value == 3.0 if samples >= 150 else 1.0 < value < 3.0
    assert value_at(ramp, samples + 1) >= value


def test_both_shapes_meet_in_the_middle() -> None:
    for shape in ("linear", "cosine"):
        assert value_at(Ramp(start=0.0, end=2.0, until=100, shape=shape), 50) == pytest.approx(1.0)


@given(st.integers(0, 300), st.integers(1, 200), st.sampled_from(["linear", "cosine"]))
def test_the_mean_of_a_ramp_is_the_mean_of_its_values(first: int, count: int, shape: str) -> None:
    ramp = Ramp(start=1.0, end=3.0, begin=50, until=150, shape=shape)
    finer = Ramp(start=1.0, end=3.0, begin=5000, until=15000, shape=shape)
    fine = [value_at(finer, 100 * first + i) for i in range(100 * count + 1)]
    trapezoid = (sum(fine) - (fine[0] + fine[-1]) / 2) / (100 * count)
    assert mean_between(ramp, first, first + count) == pytest.approx(trapezoid, abs=1e-5)
    assert mean_between(0.5, first, first + count) == 0.5

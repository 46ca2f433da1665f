"""What a test draws depends on its name alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import settings

from tests.seeds import start


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


@pytest.fixture
def first_draw() -> tuple[float, float, float]:
    return drawn()


@pytest.mark.parametrize("before", [0, 3])
def test_a_fixture_draws_the_same_for_every_test(first_draw: tuple[float, float, float], before: int) -> None:
    for _ in range(before):
        drawn()
    start("first_draw")
    assert first_draw == drawn()


def test_a_test_draws_by_its_name(request: pytest.FixtureRequest) -> None:
    own = drawn()
    start(request.node.nodeid)
    assert own == drawn()
    start("another test")
    assert own != drawn()


def test_hypothesis_draws_the_same_examples_in_every_run() -> None:
    assert settings().derandomize

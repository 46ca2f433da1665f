from __future__ import annotations

import math

import pytest
import torch

from medvlp.core.errors import ConfigError
from medvlp.models.scale import LogitScale
from tests.models.words import DUAL, dual


def test_scores_are_multiplied_by_the_exponential_of_the_parameter_and_shifted_by_the_bias() -> None:
    scale = LogitScale(init=14.28, bias=-10.0)
    assert scale.log_scale.shape == (1,)
    assert scale.log_scale.item() == pytest.approx(math.log(14.28))
    torch.testing.assert_close(scale(torch.tensor([[0.5, -1.0]])), torch.tensor([[-2.86, -24.28]]))


def test_the_bound_is_held_after_the_step_and_has_no_part_in_the_gradient() -> None:
    scale = LogitScale(init=100.0, max=100.0)
    scale(torch.ones(1, 1)).sum().backward()
    assert scale.log_scale.grad is not None
    assert scale.log_scale.grad.item() == pytest.approx(100.0)
    with torch.no_grad():
        scale.log_scale += 1.0
    scale.after_step(samples_seen=32)
    assert scale.value.item() == pytest.approx(100.0, rel=1e-6)
    with torch.no_grad():
        scale.log_scale -= 1.0
    scale.after_step(samples_seen=64)
    assert scale.value.item() == pytest.approx(100.0 / math.e, rel=1e-5)


@pytest.mark.parametrize("init", [0.0, -1.0, 200.0])
def test_a_first_value_outside_the_bounds_is_refused(init: float) -> None:
    with pytest.raises(ConfigError, match=r"choose a number above 0 and not above scale.max"):
        LogitScale(init=init)


def test_a_lower_bound_is_held_where_there_is_one() -> None:
    held, free = LogitScale(init=2.0, min=1.0), LogitScale(init=2.0)
    for scale, expected in ((held, 1.0), (free, 2.0 / math.e)):
        with torch.no_grad():
            scale.log_scale -= 1.0
        scale.after_step(samples_seen=32)
        assert scale.value.item() == pytest.approx(expected, rel=1e-6)


def test_a_first_value_below_the_lower_bound_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"scale.init is 0.5: choose a number not below scale.min, 1.0"):
        LogitScale(init=0.5, min=1.0)


def test_a_model_holds_the_lower_bound_of_its_options() -> None:
    """As ProtoCLIP does with the scale of CLIP."""
    model = dual(DUAL, scale={"init": 1.5, "min": 1.0})
    with torch.no_grad():
        model.logit_scale.log_scale -= 1.0
    model.logit_scale.after_step(samples_seen=32)
    assert model.logit_scale.value.item() == pytest.approx(1.0)

"""Evaluation mode holds as long as anybody holds it, and leaves every module as it was."""

from __future__ import annotations

from torch import nn

from medvlp.core.modes import evaluating


def test_a_model_evaluates_until_the_last_that_holds_it_ends_and_then_trains_again() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    model[0].eval()  # frozen
    modes = [module.training for module in model.modules()]
    one, other, part = evaluating(model), evaluating(model), evaluating(model[1])
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)  # two threads end in any order
    part.__enter__()
    assert not any(module.training for module in model.modules())
    other.__exit__(None, None, None)
    assert [module.training for module in model.modules()] == [True, False, False, False]
    part.__exit__(None, None, None)
    assert [module.training for module in model.modules()] == modes

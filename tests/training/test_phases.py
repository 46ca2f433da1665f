from __future__ import annotations

import pytest
from torch import nn

from medvlp.core.errors import ConfigError
from medvlp.training.phases import set_trainable


def test_later_patterns_win_and_frozen_modules_are_in_evaluation_mode() -> None:
    net = nn.ModuleDict({"image": nn.Sequential(nn.Linear(1, 1), nn.Dropout()), "text": nn.Linear(1, 1)})
    assert set_trainable(net, ["*", "!image.*", "image.0.bias"], where="phases[0]") == [
        "image.0.bias",
        "text.weight",
        "text.bias",
    ]
    assert net["image"][0].training
    set_trainable(net, ["text.*"], where="phases[0]")
    assert not net["image"][0].training
    assert not net["image"].training
    assert net["text"].training


def test_a_pattern_without_a_match_is_refused_with_the_nearest_group() -> None:
    net = nn.ModuleDict({"towers": nn.ModuleDict({"image": nn.Linear(1, 1)})})
    with pytest.raises(ConfigError, match=r"phases\[1\]\.trainable has 'towers\.imag\.\*', .* did you mean"):
        set_trainable(net, ["towers.imag.*"], where="phases[1]")

from __future__ import annotations

import copy

import pytest
import torch

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.models.architectures.single import SingleModel
from medvlp.models.build import build_model
from tests.models.words import HashWords, pairs

SPEC = {
    "name": "single",
    "image_size": 32,
    "patch_size": 8,
    "width": 16,
    "layers": 2,
    "attention_heads": 2,
    "embed_dim": 8,
}
PLAN = Plan.of(keys("image/embedding", "image/tokens", "text/embedding", "text/tokens"))


def single(**changes: object) -> SingleModel:
    model = build_model({**SPEC, **changes}, tokenizer=HashWords())
    assert isinstance(model, SingleModel)
    return model


def test_both_kinds_go_through_the_same_blocks_and_their_weights_are_saved_once() -> None:
    model = single()
    names = list(model.state_dict())
    assert len([name for name in names if name.endswith("blocks.0.attention.qkv.weight")]) == 1
    calls: list[int] = []
    model.trunk.register_forward_hook(lambda *_: calls.append(1))
    model(pairs(), PLAN)
    assert len(calls) == 2


def test_the_image_side_is_patches_plus_positions_through_the_trunk() -> None:
    model, batch = single(), pairs()
    rows = model(batch, PLAN)["image"]
    tower = model.towers["image"]
    pixels = (batch["image"].values - 0.5) / 0.25
    cells = pixels.unfold(2, 8, 8).unfold(3, 8, 8).reshape(3, 16, 64)
    embedded = cells @ tower.patch.weight.reshape(16, 64).T + tower.patch.bias + tower.position
    for block in model.trunk.blocks:
        embedded = block(embedded, None)
    tokens = model.trunk.norm(embedded)
    assert rows.grid == (4, 4)
    torch.testing.assert_close(rows.tokens, tokens)
    torch.testing.assert_close(rows.part("raw"), tokens.mean(dim=1) @ model.heads["image/raw"].output.weight.T)


def test_a_loss_on_either_kind_reaches_the_trunk() -> None:
    for view in ("image", "text"):
        model = single()
        model(pairs(), Plan.of(keys(f"{view}/raw")))[view].part("raw").square().sum().backward()
        assert model.trunk.blocks[0].mlp[0].weight.grad.abs().sum() > 0


def test_a_copy_shares_a_trunk_of_its_own() -> None:
    model = single()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.trunk.parameters():
            parameter.zero_()
    assert not twin(pairs(), PLAN)["image"].tokens.any()
    assert model(pairs(), PLAN)["image"].tokens.any()


def test_its_specification_builds_it_again() -> None:
    model = single()
    again = build_model(model.spec, tokenizer=HashWords())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="image_size 32 is no multiple of patch_size 7"):
        single(patch_size=7)
    with pytest.raises(ConfigError, match=r"takes images of shape \(1, 32, 32\) and was given \(1, 64, 64\)"):
        single()(pairs(size=64), PLAN)
    with pytest.raises(ConfigError, match="model needs a tokenizer"):
        build_model(SPEC, tokenizer=None)

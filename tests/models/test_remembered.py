"""Rows of a tower that learns nothing are made once and are its own; a weight that moves makes it look again."""

from __future__ import annotations

import copy

import torch

from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import Model
from medvlp.features.heat_map import heat_maps
from medvlp.models.architectures._remembered import Remembered
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.build import build_model
from tests.models.words import VISION, HashWords, dual, pairs

EMBEDDINGS = Plan.of(keys("image/embedding", "text/embedding"))
HEADS = {"image/stages": {"name": "stages", "stages": 2}, "image/raw": {"name": "projection", "reads": "stages"}}


def locked(**options: object) -> tuple[Model, dict[str, int]]:
    """A model whose towers are locked and remembered, and how many rows each of them was shown."""
    model = dual(vision=VISION, heads=HEADS, **options).train()
    for tower in model.towers.values():
        tower.requires_grad_(False).eval()
    model.remembered = Remembered()
    shown = dict.fromkeys(model.towers, 0)

    def count(name: str) -> None:
        model.towers[name].register_forward_hook(
            lambda module, args, out: shown.__setitem__(name, shown[name] + len(args[0]))
        )

    for name in shown:
        count(name)
    return model, shown


def test_each_row_goes_through_once_in_any_batch_and_heads_learn_on() -> None:
    model, shown = locked()
    plain = dual(vision=VISION, heads=HEADS).eval()
    batch = pairs(["a b c", "d", "a b c"])
    for _ in range(2):
        out, expected = model(batch, EMBEDDINGS), plain(batch, EMBEDDINGS)
        for view in ("image", "text"):
            torch.testing.assert_close(out[view].part("raw"), expected[view].part("raw"))
            assert torch.equal(out[view].owner, expected[view].owner)
    assert shown == {"image": 3, "text": 2}  # two of the texts are equal
    (out["image"].part("raw").sum() + out["text"].part("raw").sum()).backward()
    assert model.heads["image/raw"].output.weight.grad.any()
    with torch.inference_mode():
        model.eval()(batch, EMBEDDINGS)
    assert shown == {"image": 3, "text": 2}
    with torch.no_grad():
        model.heads["image/raw"].output.weight.mul_(2)
    torch.testing.assert_close(model(batch, EMBEDDINGS)["image"].part("raw"), 2 * out["image"].part("raw"))
    assert shown["image"] == 3


def test_what_was_first_seen_in_a_validation_serves_a_step_that_trains() -> None:
    model, shown = locked()
    with torch.inference_mode():
        model(pairs(), EMBEDDINGS)
    model(pairs(), EMBEDDINGS)["image"].part("raw").sum().backward()
    assert shown["image"] == pairs().size


def test_another_weight_another_row() -> None:
    model, shown = locked()
    before = model(pairs(), EMBEDDINGS)["image"].part("raw")
    other = copy.deepcopy(model)  # shares what is remembered, and knows its own weights by theirs
    with torch.no_grad():
        next(other.towers["image"].parameters()).mul_(-1)
    assert not torch.allclose(other(pairs(), EMBEDDINGS)["image"].part("raw"), before)
    assert torch.equal(model(pairs(), EMBEDDINGS)["image"].part("raw"), before)
    count = shown["image"]
    with torch.no_grad():
        next(model.towers["image"].parameters()).mul_(-1)
    moved = model(pairs(), EMBEDDINGS)["image"].part("raw")
    assert torch.equal(moved, other(pairs(), EMBEDDINGS)["image"].part("raw"))
    assert shown["image"] == count  # the other one has looked at them with these weights


def test_a_tower_that_learns_is_never_remembered_nor_one_whose_gradient_is_asked_for() -> None:
    model, shown = locked()
    model.towers["image"].requires_grad_(True).train()
    for _ in range(2):
        model(pairs(), EMBEDDINGS)["image"].part("raw").sum().backward()
    assert shown["image"] == 2 * pairs().size
    assert next(model.towers["image"].parameters()).grad is not None
    frozen, _ = locked()
    image = pairs()["image"].values[0]
    with_memory = heat_maps(frozen.eval(), image, torch.ones(1, frozen.embed_dim))
    frozen.remembered = None
    without = heat_maps(frozen, image, torch.ones(1, frozen.embed_dim))
    assert (with_memory[0].values == without[0].values).all()


def test_a_shared_trunk_counts_as_the_towers_own() -> None:
    model = build_model({"name": "single", "width": 16, "layers": 1, "image_size": 32}, tokenizer=HashWords())
    assert isinstance(model, TowerModel)
    for tower in model.towers.values():
        tower.requires_grad_(False).eval()
    model.remembered = Remembered()
    model(pairs(), EMBEDDINGS)["image"].part("raw").sum().backward()
    assert all(p.grad is not None for p in model.get_submodule("trunk").parameters())
    before = model.requires_grad_(False).eval()(pairs(), EMBEDDINGS)["text"].part("raw")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_parameter("trunk.norm.weight").mul_(-1)
    assert not torch.allclose(other(pairs(), EMBEDDINGS)["text"].part("raw"), before)

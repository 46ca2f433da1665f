"""Towers that shrink and grow: which weights stay, that nothing else changes, gates, and inheriting with momentum."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp.core import Batch, ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.registry import build
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.surgery import operate
from medvlp.models.surgery.learn_masks import Gated, Gates
from medvlp.text import train_wordpiece
from tests.models.words import DUAL, TEXT, VIT, HashWords, dual, pairs

PLAN = Plan.of(keys("image/embedding", "text/embedding"))
DEEP = {**DUAL, "vision": {**VIT, "options": {"embed_dim": 16, "depth": 4, "num_heads": 4}}}
DEEP |= {"text": {**TEXT, "layers": 5, "heads": 4}}
INHERIT: dict[str, Any] = {"name": "weight_inheritance"}
KINDS = pytest.mark.parametrize("kind", ["image", "text"])


def embeddings(model: Any, *, size: int = 64) -> dict[str, torch.Tensor]:
    model.eval()
    with torch.no_grad():
        return {view: rows.part("embedding") for view, rows in model(pairs(size=size), PLAN).items()}


def same(model: Any, before: dict[str, torch.Tensor], *, within: float) -> bool:
    return all(float((rows - before[view]).abs().max()) <= within for view, rows in embeddings(model).items())


def block(model: Any, kind: str, number: int) -> torch.nn.Module:
    return model.towers[kind].sites()[f"block.before[{number}]"].module


def layers(kind: str) -> tuple[str, str, str, str]:
    own = ("attention.qkv", "attention.output", "mlp.0", "mlp.2")
    return own if kind == "text" else ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


# TinyCLIP -----------------------------------------------------------------------------------------------------------


@KINDS
def test_all_of_it_inherited_is_the_teacher(kind: str) -> None:
    model = dual(DEEP)
    before, old = embeddings(model), list(model.parameters())
    operate(model, [{**INHERIT, "kind": kind}])
    assert same(model, before, within=0)
    assert all(a is b for a, b in zip(old, model.parameters(), strict=True))


@KINDS
def test_blocks_heads_and_channels_are_the_slices_that_the_paper_names(kind: str) -> None:
    teacher = dual(DEEP)
    student = copy.deepcopy(teacher)
    operate(student, [{**INHERIT, "kind": kind, "layers": 2, "heads": 0.5, "channels": 0.25}])
    names, count = layers(kind), sum(n.startswith("block.before[") for n in student.towers[kind].sites())
    assert count == 2
    for i in range(2):
        own, old = block(student, kind, i), block(teacher, kind, 2 * i)  # 4 // 2 and 5 // 2
        qkv, output, first, last = (own.get_submodule(name) for name in names)
        before = [old.get_submodule(name) for name in names]
        # Four heads of width 4: the first two of the queries, of the keys and of the values.
        rows = [*range(8), *range(16, 24), *range(32, 40)]
        assert torch.equal(qkv.weight, before[0].weight[rows])  # type: ignore[index]
        assert torch.equal(output.weight, before[1].weight[:, :8])  # type: ignore[index]
        assert torch.equal(first.weight, before[2].weight[:16])  # type: ignore[index]
        assert torch.equal(last.weight, before[3].weight[:, :16])  # type: ignore[index]
        assert last.bias is not None
        assert torch.equal(last.bias, before[3].bias)  # type: ignore[arg-type]
    assert all(rows.isfinite().all() for rows in embeddings(student).values())


def test_a_bundle_of_what_is_left_loads(tmp_path: Path) -> None:
    words = train_wordpiece(["no acute findings", "left effusion", "large heart"], vocab_size=64, max_length=12)
    model = build_model(DEEP, tokenizer=words, seed=1)
    operate(model, [{"name": "learn_masks", "kind": "text"}])
    operate(model, [{**INHERIT, "kind": "text", "layers": [0, 3], "heads": 0.5, "channels": 0.5}])
    operate(model, [{"name": "grow_width", "kind": "text", "heads": 1, "channels": 3}])
    operate(model, [{"name": "parameter_inheriting", "beta": 0.5}])
    before = embeddings(model)
    save_bundle(tmp_path / "bundle", Bundle(model=model, tokenizer=words, preprocessing=[]))
    back = load_bundle(tmp_path / "bundle").model
    assert same(back, before, within=0)


@KINDS
def test_gates_that_are_open_change_nothing_and_those_that_are_closed_are_not_missed(kind: str) -> None:
    model = dual(DEEP)
    before = embeddings(model)
    operate(model, [{"name": "learn_masks", "kind": kind}])
    assert same(model, before, within=0)
    gated = [m for m in model.modules() if isinstance(m, Gated)]
    assert len(gated) == 2 * (5 if kind == "text" else 4)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for each in gated:
            count = len(each.gates.rank)
            closed = torch.randperm(count, generator=draw)[: count // 2]
            each.gates.log_alpha[:] = torch.rand(count, generator=draw)  # half open
            each.gates.log_alpha[closed] = -9.0
            each.gates.after_step(0)
    masked = embeddings(model)
    assert not same(model, before, within=1e-3)
    old = sum(p.numel() for p in model.towers[kind].parameters())
    operate(model, [{**INHERIT, "kind": kind, "heads": 0.5, "channels": 0.5}])
    assert same(model, masked, within=2e-6)
    assert sum(p.numel() for p in model.towers[kind].parameters()) < 0.7 * old
    assert not any(isinstance(m, Gated) for m in model.modules())
    with pytest.raises(ConfigError, match="cannot be computed"):
        model.check(Plan.of(keys(f"{kind}/open")))


def test_the_gates_of_the_other_tower_stay() -> None:
    model = dual(DEEP)
    operate(model, [{"name": "learn_masks", "kind": kind} for kind in ("image", "text")])
    assert not model.towers["text"].in_groups  # type: ignore[attr-defined]
    operate(model, [{**INHERIT, "kind": "text"}])
    assert model.towers["text"].in_groups  # type: ignore[attr-defined]
    found = model(pairs(size=64), Plan.of(keys("image/open")))["image"].part("open")
    assert found.shape == (3, 2, 8)  # two layers of each of four blocks
    operate(model, [{"name": "learn_masks", "kind": "text"}])  # a further stage
    model.check(Plan.of(keys("text/open")))


def test_a_gate_is_drawn_from_the_hard_concrete_distribution() -> None:
    gates, draw = Gates(3), torch.Generator().manual_seed(0)
    with torch.no_grad():
        gates.log_alpha[:] = torch.tensor([-2.0, 0.0, 2.0])
    drawn = gates(torch.rand(40000, 3, generator=draw))
    torch.testing.assert_close((drawn > 0).float().mean(dim=0), gates.open(), rtol=0, atol=0.01)
    assert drawn.min() == 0
    assert drawn.max() == 1
    gates.eval()
    assert torch.equal(gates(torch.rand(1, 3)), gates.settled())


def test_the_draws_of_a_sample_do_not_hang_on_the_batch_and_the_part_says_how_much_is_open() -> None:
    model = dual(DEEP)
    operate(model, [{"name": "learn_masks", "kind": "text"}])
    with torch.no_grad():
        for gates in (m for m in model.modules() if isinstance(m, Gates)):
            gates.log_alpha.zero_()
    model.train()
    texts = ["a b", "c", "d e f"] * 14  # more than a text tower encodes together otherwise
    plan = Plan.of(keys("text/embedding", "text/open"))
    rows = model(Batch.of({"text": texts}), plan)["text"]
    later = model(Batch.of({"text": texts[20:]}, first=20), plan)["text"]
    torch.testing.assert_close(later.part("embedding"), rows.part("embedding")[20:], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(rows.part("embedding")[0], rows.part("embedding")[3], atol=1e-4)  # equal words
    there = sum(
        b.get_submodule(n).weight.numel() for b in (block(model, "text", i) for i in range(5)) for n in MLP_AND_QKV
    )
    behind = sum(m.linear.weight.numel() for m in model.modules() if isinstance(m, Gated))
    expected, everything = rows.part("open")[0].sum(dim=-1).tolist()
    assert everything == there + behind
    torch.testing.assert_close(
        expected / everything, float(Gates(1).open().new_tensor(1.6).sigmoid()), atol=0.01, rtol=0
    )


MLP_AND_QKV = ("attention.qkv", "mlp.0")


# GrowCLIP -----------------------------------------------------------------------------------------------------------


@KINDS
def test_a_wider_tower_computes_what_it_did(kind: str) -> None:
    model = dual(DEEP)
    before = embeddings(model)
    operate(model, [{"name": "grow_width", "kind": kind, "heads": 2, "channels": 8}])
    assert same(model, before, within=1e-6)
    qkv, output, first, last = (block(model, kind, 0).get_submodule(name) for name in layers(kind))
    assert qkv.weight.shape == (72, 16)
    assert first.weight.shape == (72, 16)
    model.train()
    sum(rows.part("embedding")[:, 0].sum() for rows in model(pairs(size=64), PLAN).values()).backward()  # type: ignore[union-attr]
    assert output.weight.grad is not None
    assert last.weight.grad is not None
    assert bool(output.weight.grad[:, 16:].any())  # new ones begin to move at the first step
    assert bool(last.weight.grad[:, 64:].any())


def test_with_beta_1_the_model_stays_and_with_0_it_is_a_fresh_one() -> None:
    model = dual(DEEP, seed=3)
    operate(model, [{"name": "grow_width", "kind": "text", "channels": 8}, {"name": "stretch_positions", "keep": 4}])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    before, old = embeddings(model), dict(model.named_parameters())
    whole = copy.deepcopy(model)
    operate(whole, [{"name": "parameter_inheriting", "beta": 1.0}])
    assert same(whole, before, within=0)
    fresh, half = copy.deepcopy(model), copy.deepcopy(model)
    operate(fresh, [{"name": "parameter_inheriting", "beta": 0.0, "kinds": ["text"]}])
    operate(half, [{"name": "parameter_inheriting", "beta": 0.5, "kinds": ["text"]}])
    new, mixed = dict(fresh.named_parameters()), dict(half.named_parameters())
    assert new.keys() == old.keys()
    for name, parameter in old.items():
        assert torch.equal(new[name], parameter) != name.startswith("towers.text.")
        torch.testing.assert_close(mixed[name], 0.5 * (parameter + new[name]))
    assert new["towers.text.trunk.norm.weight"].detach().mean() == 1.0  # not 2, as in the old one
    assert 0.01 < new["towers.text.word.weight"].detach().std() < 0.03


def test_a_shared_trunk_is_a_fresh_one_with_its_norm() -> None:
    model = build_model({"name": "single", "width": 16, "layers": 2, "image_size": 32}, tokenizer=HashWords())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    old = dict(model.named_parameters())
    operate(model, [{"name": "parameter_inheriting", "beta": 0.0, "kinds": ["text"]}])
    same = {name for name, parameter in model.named_parameters() if torch.equal(parameter, old[name])}
    assert same == {name for name in old if not name.startswith(("towers.text.", "trunk."))}


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="grow_width grows nothing: give heads or channels"):
        build("models/surgery", {"name": "grow_width", "kind": "text"}, where="x")
    with pytest.raises(
        ConfigError, match=r"layers of weight_inheritance is \[1, 0\], and the text tower has the blocks"
    ):
        operate(dual(), [{**INHERIT, "kind": "text", "layers": [1, 0]}])
    with pytest.raises(ConfigError, match="weight_inheritance is 3, and the text tower has the blocks 0 to 1"):
        operate(dual(), [{**INHERIT, "kind": "text", "layers": 3}])
    with pytest.raises(ConfigError, match="parameter_inheriting finds no tower 'txt': did you mean 'text'"):
        operate(dual(), [{"name": "parameter_inheriting", "kinds": ["txt"]}])
    with pytest.raises(ConfigError, match="learn_masks needs pre-norm transformer blocks"):
        operate(dual(), [{"name": "learn_masks", "kind": "image"}])

"""A block's MLP as a site: what passes there, and what may take its place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import Plan, keys, parse_key
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.patches import apply_patches
from tests.methods.experts import RouterBalance
from tests.methods.world import methods
from tests.models.test_patch_views import BERT, batch
from tests.models.words import DUAL, TEXT, VIT, dual

MODERN = {"name": "transformers", "pool": "mean", "config": {"model_type": "modernbert", "hidden_size": 16}}
MODERN["config"] |= {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TOWERS = {"own": TEXT, "bert": {**BERT, "pool": "mean"}, "modernbert": MODERN}
KINDS = [("image", "own"), *(("text", name) for name in TOWERS)]


@pytest.fixture(autouse=True)
def components() -> Iterator[None]:
    with methods():
        yield


def model(text: str = "own") -> TowerModel:
    return dual({**DUAL, "vision": VIT, "text": TOWERS[text]}).eval()


def outputs(built: TowerModel, kind: str) -> Tensor:
    return built(batch(64), Plan.of(keys(f"{kind}/embedding")))[kind].part("embedding")


@pytest.mark.parametrize(("kind", "text"), KINDS)
def test_experts_that_are_copies_compute_what_the_mlp_does_and_removed_they_leave_no_trace(
    kind: str, text: str
) -> None:
    patched, plain = model(text), model(text)
    handle = apply_patches(patched, [{"name": "experts", "kind": kind}])
    assert handle.sites == (f"{kind}:block.mlp[0]", f"{kind}:block.mlp[1]")
    torch.testing.assert_close(outputs(patched, kind), outputs(plain, kind))
    for patch in patched.patches.values():
        for parameter in patch.others.parameters():
            torch.nn.init.normal_(parameter)
    assert not torch.allclose(outputs(patched, kind), outputs(plain, kind), atol=1e-3)
    handle.remove()
    assert torch.equal(outputs(patched, kind), outputs(plain, kind))
    assert list(patched.state_dict()) == list(plain.state_dict())


def test_the_two_most_probable_experts_of_each_token_are_mixed() -> None:
    patched = model()
    apply_patches(patched, [{"name": "experts", "kind": "text", "on": "block.mlp[1]", "experts": 3}])
    (patch,) = patched.patches.values()
    for parameter in patch.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    plan = Plan.of(keys("text/layers", "text/mask", "text/router"))
    rows = patched(batch(64), plan)["text"]
    block = model().towers["text"].trunk.blocks[1]
    entered = rows.layers[:, 0]
    entered = entered + block.attention(block.norm_attention(entered), rows.mask)
    experts = [block.mlp, *patch.others]
    for row, token in rows.mask.nonzero().tolist():
        x = block.norm_mlp(entered[row, token])
        shares = [float(s) for s in (patch.router.weight @ x).softmax(dim=0).detach()]
        torch.testing.assert_close(rows.part("router")[row, token], torch.tensor(shares))
        first, second = sorted(range(3), key=lambda e: -shares[e])[:2]
        mixed = sum(shares[e] / (shares[first] + shares[second]) * experts[e](x) for e in (first, second))
        torch.testing.assert_close(rows.layers[row, 1, token], entered[row, token] + mixed)


def test_parts_of_several_blocks_lie_side_by_side_and_many_texts_keep_their_order() -> None:
    patched = model()
    apply_patches(patched, [{"name": "experts", "kind": "text", "experts": 3}])
    many = Batch.of({"text": [" ".join(["word"] * (1 + i % 7) + [f"w{i}"]) for i in range(40)]})
    plan = Plan.of(keys("text/router", "text/mask"))
    rows = patched(many, plan)["text"]
    assert rows.part("router").shape == (40, 8, 3, 2)
    for i in (0, 6, 39):
        alone = patched(Batch.of({"text": [many.strings("text")[i]]}), plan)["text"]
        count = int(alone.mask.sum())
        torch.testing.assert_close(rows.part("router")[i, :count], alone.part("router")[0, :count])


def test_the_experts_of_a_copied_model_read_their_own_input() -> None:
    patched = model("bert")
    apply_patches(patched, [{"name": "experts", "kind": "text"}])
    teacher = copy.deepcopy(patched)
    before = outputs(teacher, "text")
    for parameter in patched.patches.parameters():
        torch.nn.init.normal_(parameter)
    assert torch.equal(outputs(teacher, "text"), before)


def balance(router: Tensor) -> float:
    parts = {parse_key("image/router"): Part(router, torch.arange(len(router)))}
    ctx = Context(parts=parts, batch=Batch.of({"text": ["a"] * len(router)}))
    return RouterBalance(views=["image"])(ctx)["image"].value().item()


def test_the_balance_is_k_where_all_experts_are_alike_and_larger_where_two_take_all() -> None:
    even = torch.full((2, 6, 4), 0.25)
    pairs = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]] * 3).view(2, 6, 2)
    even = even.scatter_add(-1, pairs, torch.full((2, 6, 2), 1e-7))
    assert balance(even) == pytest.approx(2.0, abs=1e-5)
    collapsed = torch.tensor([0.5, 0.49, 0.005, 0.005]).expand(2, 6, 4)
    assert balance(collapsed) == pytest.approx(4 * (0.5 + 0.49), abs=1e-5)


def test_the_balance_by_hand_over_layers_and_real_tokens() -> None:
    router = torch.rand(3, 5, 4, 2, generator=torch.Generator().manual_seed(0)).softmax(dim=2)
    mask = torch.arange(5)[None] < torch.tensor([5, 2, 4])[:, None]
    parts: dict[Any, Part] = {
        parse_key("text/router"): Part(router, torch.arange(3)),
        parse_key("text/mask"): Part(mask, torch.arange(3)),
    }
    ctx = Context(parts=parts, batch=Batch.of({"text": ["a"] * 3}))
    total = 0.0
    for layer in range(2):
        tokens = [router[r, n, :, layer].tolist() for r in range(3) for n in range(5) if mask[r, n]]
        for e in range(4):
            taken = sum(sorted(range(4), key=lambda i: -t[i]).index(e) < 2 for t in tokens) / len(tokens)
            total += 4 * taken * sum(t[e] for t in tokens) / len(tokens) / 2
    assert RouterBalance(views=["text"])(ctx)["text"].value().item() == pytest.approx(total, rel=1e-5)

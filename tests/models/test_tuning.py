"""Low-rank and bottleneck tuning against their equations, and what every patch has in common."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import Site
from medvlp.models.patches import apply_patches
from medvlp.models.patches.dora import DoRA
from medvlp.models.patches.lora import LoRA
from medvlp.training.phases import set_trainable
from tests.models.prompts import batch, drawn, logits, model
from tests.models.words import DUAL, VIT, dual, pairs

PLAN = Plan.of(keys("image/embedding", "text/embedding"))
QKV = "linear[blocks.0.attn.qkv]"
DORA = {"name": "dora", "on": QKV, "rank": 2, "alpha": 6.0}
ADAPTER = {"name": "adapter", "width": 4}
BANK = {"view": "bank.names", "tokens": 2}
MAPLE = [
    {"name": "maple", "kind": "text", "view": "bank.names", "on": "words.input, block.before[*]", "depth": 2},
    {"name": "maple", "kind": "image", "view": "image", "on": "tokens.input, block.before[*]", "depth": 2},
]
EVERY = [[DORA], [ADAPTER], [{**ADAPTER, "kind": "text"}], MAPLE, *([{"name": n, **BANK}] for n in ("coop", "cocoop"))]
EVERY += [[{"name": "ctp", **BANK}], [{"name": "gopro", **BANK}], [{"name": "lora", "on": QKV}]]


@pytest.mark.parametrize("specs", EVERY, ids=lambda s: f"{s[0]['name']} {s[0].get('kind', '')}")
def test_removed_it_leaves_every_bit_and_no_parameter(specs: list[dict[str, Any]]) -> None:
    patched, plain = model(), model()
    handle = apply_patches(patched, specs, seed=2)
    for part in (patched.patches, patched.shared):
        drawn(part)
    assert not torch.allclose(logits(patched), logits(plain), atol=1e-3)
    handle.remove()
    assert torch.equal(logits(patched), logits(plain))
    assert list(patched.state_dict()) == list(plain.state_dict())
    assert patched.spec == plain.spec


@pytest.mark.parametrize(
    "spec", [DORA, {**DORA, "kind": "text", "on": "linear[*]"}, ADAPTER, {**ADAPTER, "kind": "text"}]
)
def test_it_starts_as_the_model_bit_for_bit(spec: dict[str, Any]) -> None:
    patched, plain = (dual({**DUAL, "vision": VIT}) for _ in range(2))
    apply_patches(patched, [spec])
    first, second = patched(pairs(size=64), PLAN), plain(pairs(size=64), PLAN)
    for view in ("image", "text"):
        assert torch.equal(first[view].part("embedding"), second[view].part("embedding"))


def test_dora_is_the_layer_with_its_rows_turned_and_stretched() -> None:
    patched, merged = (dual({**DUAL, "vision": VIT}) for _ in range(2))
    apply_patches(patched, [DORA])
    (patch,) = patched.patches.values()
    drawn(patch)
    weight = merged.towers["image"].backbone.blocks[0].attn.qkv.weight
    with torch.no_grad():
        moved = weight + 3.0 * patch.up @ patch.down
        for row in range(len(weight)):
            weight[row] = patch.magnitude[row] * moved[row] / moved[row].square().sum().sqrt()
    expected = merged(pairs(size=64), PLAN)["image"].part("embedding")
    torch.testing.assert_close(patched(pairs(size=64), PLAN)["image"].part("embedding"), expected)


def test_dora_starts_as_a_layer_of_which_an_output_has_no_weights() -> None:
    layer, x = nn.Linear(4, 3), torch.randn(5, 4)
    nn.init.zeros_(layer.weight[1:])
    assert torch.equal(DoRA(site=Site(layer, "after"), rank=2)(layer(x), x), layer(x))


def test_the_length_by_which_dora_divides_is_a_constant_in_the_backward_pass() -> None:
    patched = dual({**DUAL, "vision": VIT})
    apply_patches(patched, [DORA])
    (patch,) = patched.patches.values()
    drawn(patch)
    layer = patched.towers["image"].backbone.blocks[0].attn.qkv
    x, learns = torch.randn(5, 16), (patch.up, patch.down, patch.magnitude, layer.weight)
    out = patch(nn.functional.linear(x, layer.weight, layer.bias), x)
    up, down, magnitude, weight = (each.detach().clone().requires_grad_() for each in learns)
    length = (weight + 3.0 * up @ down).detach().norm(dim=1)
    by_hand = x @ (weight + 3.0 * up @ down).T * (magnitude / length) + layer.bias.detach()
    torch.testing.assert_close(out, by_hand)
    got = torch.autograd.grad(out.square().sum(), learns)
    torch.testing.assert_close(got, torch.autograd.grad(by_hand.square().sum(), (up, down, magnitude, weight)))


def test_the_first_factor_of_lora_begins_as_torch_begins_a_linear_layer_and_the_second_at_zero() -> None:
    patch = LoRA(site=Site(nn.Linear(400, 3), "after"), rank=50)
    assert not patch.up.any()
    assert float(patch.down.detach().abs().max()) == pytest.approx(400**-0.5, rel=1e-3)
    assert float(patch.down.detach().std()) == pytest.approx((3 * 400) ** -0.5, rel=0.02)


def test_every_weight_of_dora_learns_in_half_precision_too() -> None:
    layer, x = nn.Linear(4, 3), torch.randn(5, 4)
    patch = DoRA(site=Site(layer, "after"), rank=2)
    drawn(patch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = patch(layer(x), x)
    out.float().square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in patch.parameters())


def test_an_adapter_is_its_equation_behind_each_mlp() -> None:
    patched, plain = (dual({**DUAL, "vision": VIT}) for _ in range(2))
    handle = apply_patches(patched, [ADAPTER])
    assert handle.sites == ("image:block.mlp[0]", "image:block.mlp[1]")
    drawn(patched.patches)
    for block, patch in zip(plain.towers["image"].backbone.blocks, patched.patches.values(), strict=True):
        block.mlp = nn.Sequential(block.mlp, Bottleneck(patch))
    first, second = (m(pairs(size=64), PLAN)["image"].part("embedding") for m in (patched, plain))
    torch.testing.assert_close(first, second)


class Bottleneck(nn.Module):
    def __init__(self, of: Any) -> None:
        super().__init__()
        self.of = of

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        inner = h @ self.of.down.weight.T + self.of.down.bias
        inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2
        return h + inner @ self.of.up.weight.T + self.of.up.bias


def test_an_adapter_on_a_map_of_channels_is_refused() -> None:
    patched = dual()
    apply_patches(patched, [{**ADAPTER, "on": "block.after[0]"}])
    with pytest.raises(ConfigError, match=r"adapter at 'block.after\[0\]' meets .* put it at block.mlp"):
        patched(pairs(), PLAN)


def test_biases_alone_are_a_pattern_of_what_trains() -> None:
    """BitFit (Ben Zaken et al. 2022) needs no patch."""
    root = nn.ModuleDict({"model": dual({**DUAL, "vision": VIT})})
    names = set_trainable(root, ["model.towers.*bias"], where="phases[0]")
    assert names
    assert all(name.endswith("bias") for name in names)
    assert {n for n, _ in root.named_parameters() if "towers" in n and n.endswith("bias")} == set(names)
    trained = sum(p.numel() for p in root.parameters() if p.requires_grad)
    assert trained < 0.1 * sum(p.numel() for p in root.parameters())


def test_several_sites_of_one_patch_are_named_with_commas() -> None:
    patched = dual({**DUAL, "vision": VIT})
    handle = apply_patches(patched, [{**ADAPTER, "on": "block.mlp[1], block.after[0]"}])
    assert handle.sites == ("image:block.mlp[1]", "image:block.after[0]")
    handle.remove()
    with pytest.raises(
        ConfigError, match=r"patches\[0\].on is 'block.afte\[0\]', and the image tower has no such site"
    ):
        apply_patches(patched, [{**ADAPTER, "on": "block.mlp[1], block.afte[0]"}])


# maple ----------------------------------------------------------------------------------------------------------------


def test_prompts_that_start_as_no_words_are_normal_with_a_deviation_of_a_fiftieth() -> None:
    built = model([{**spec, "tokens": 200} for spec in MAPLE])
    (coop,) = model([{"name": "coop", **BANK, "tokens": 200}]).patches.values()
    for prompts in (*built.shared["maple"].prompts, coop.context):
        assert float(prompts.detach().std()) == pytest.approx(0.02, rel=0.05)
        assert abs(float(prompts.detach().mean())) < 0.002


def test_maple_of_depth_one_is_shallow() -> None:
    shallow = [{**spec, "depth": 1} for spec in MAPLE]
    everywhere, first = model(shallow), model([{**s, "on": s["on"].partition(",")[0]} for s in shallow])
    assert torch.equal(logits(everywhere), logits(first))
    assert len(everywhere.shared["maple"].prompts) == 1
    assert not torch.allclose(logits(everywhere), logits(model(MAPLE)))


def test_maple_that_starts_as_words_stands_before_the_name() -> None:
    built = model([{**MAPLE[0], "depth": 1, "words": "a photo of"}])
    plan = Plan.of(keys("bank.names/embedding"))
    hand = model(
        names=[f"a photo {name}" for name in ("effusion.", "rib fracture.", "nodule", "no finding of any kind.")]
    )
    torch.testing.assert_close(
        built(batch(), plan)["bank.names"].part("embedding"), hand(batch(), plan)["bank.names"].part("embedding")
    )


def test_maple_permutes_its_logits_with_the_classes_and_trains_nothing_of_the_towers() -> None:
    names, order = ("effusion.", "rib fracture.", "nodule"), [2, 0, 1]
    first, second = (model(MAPLE, names=n) for n in (names, [names[i] for i in order]))
    torch.testing.assert_close(logits(second), logits(first)[:, order])
    root = nn.ModuleDict({"model": first})
    set_trainable(root, ["model.shared.maple.*"], where="phases[0]")
    logits(first)[:, 0].sum().backward()
    moved = {n for n, p in root.named_parameters() if p.grad is not None}
    assert moved == {n for n, _ in root.named_parameters() if n.startswith("model.shared.maple.")}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({**MAPLE[1], "depth": 3}, "maple has depth 3 and the image tower 2 blocks: lower depth"),
        ({**MAPLE[0], "words": "a", "tokens": 2}, "maple has 2 prompts and 'a' 1 tokens: write more words"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        model([spec])

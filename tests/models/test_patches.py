from __future__ import annotations

import copy

import pytest
import torch

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.build import build_model
from medvlp.models.encoders._sites import TokenSite
from medvlp.models.patches import apply_patches
from medvlp.models.patches.token_dropout import TokenDropout
from tests.models.words import DUAL, VIT, HashWords, dual, images, pairs

PLAN = Plan.of(keys("image/embedding", "image/tokens", "text/embedding", "text/tokens"))
LORA = {"name": "lora", "kind": "image", "on": "linear[blocks.*.attn.qkv]", "rank": 2}
DROP = {"name": "token_dropout", "kind": "image", "rate": 0.5}
NOISE = {"name": "noise", "kind": "image", "std": 0.3}


def model() -> TowerModel:
    return dual({**DUAL, "vision": VIT})


def batch() -> Batch:
    return pairs(size=64)


@pytest.mark.parametrize(
    "specs",
    [
        [LORA],
        [DROP],
        [NOISE],
        [{**DROP, "kind": "text", "mode": "zero"}, {**LORA, "kind": "text", "on": "linear[*]"}, NOISE, DROP, LORA],
    ],
)
def test_removed_patches_leave_bit_identical_outputs_and_no_parameters(specs: list[dict]) -> None:
    patched, plain = model(), model()
    names = list(patched.state_dict())
    handle = apply_patches(patched, specs, seed=1)
    for parameter in patched.patches.parameters():
        torch.nn.init.ones_(parameter)
    changed = patched(batch(), PLAN)["image"].part("embedding")
    assert not torch.equal(changed, plain(batch(), PLAN)["image"].part("embedding"))
    handle.remove()
    handle.remove()
    first, second = patched(batch(), PLAN), plain(batch(), PLAN)
    for view in ("image", "text"):
        for part in ("embedding", "tokens"):
            assert torch.equal(first[view].part(part), second[view].part(part))
    assert list(patched.state_dict()) == names
    assert patched.spec == plain.spec


def test_lora_starts_as_the_model_and_adds_the_scaled_product_of_its_factors() -> None:
    patched = model()
    before = patched(batch(), PLAN)["image"].part("embedding")
    handle = apply_patches(patched, [{**LORA, "on": "linear[blocks.0.attn.qkv]", "alpha": 6.0}])
    assert handle.sites == ("image:linear[blocks.0.attn.qkv]",)
    assert torch.equal(patched(batch(), PLAN)["image"].part("embedding"), before)
    (patch,) = patched.patches.values()
    torch.nn.init.normal_(patch.up)
    merged = model()
    with torch.no_grad():
        merged.towers["image"].backbone.blocks[0].attn.qkv.weight += 3.0 * patch.up @ patch.down
    after, by_hand = patched(batch(), PLAN)["image"], merged(batch(), PLAN)["image"]
    torch.testing.assert_close(after.part("embedding"), by_hand.part("embedding"))


def test_patch_parameters_are_trained_saved_and_found_under_the_model() -> None:
    patched = model()
    apply_patches(patched, [LORA])
    names = [name for name, _ in patched.named_parameters() if name.startswith("patches.")]
    assert len(names) == 4
    patched(batch(), PLAN)["image"].part("embedding")[:, 0].sum().backward()
    assert all(dict(patched.named_parameters())[name].grad is not None for name in names)
    assert not set(names) & set(patched.outside_forward())


def test_a_specification_with_patches_builds_the_patched_model_again() -> None:
    patched = model()
    apply_patches(patched, [LORA])
    for parameter in patched.patches.parameters():
        torch.nn.init.ones_(parameter)
    again = build_model(patched.spec, tokenizer=HashWords())
    again.load_state_dict(patched.state_dict())
    first, second = patched(batch(), PLAN), again(batch(), PLAN)
    assert torch.equal(first["image"].part("embedding"), second["image"].part("embedding"))


def test_a_copied_model_is_patched_by_its_own_parameters() -> None:
    patched = model()
    apply_patches(patched, [LORA])
    teacher = copy.deepcopy(patched)
    before = teacher(batch(), PLAN)["image"].part("embedding")
    for parameter in patched.patches.parameters():
        torch.nn.init.ones_(parameter)
    assert torch.equal(teacher(batch(), PLAN)["image"].part("embedding"), before)
    for parameter in teacher.patches.parameters():
        torch.nn.init.ones_(parameter)
    torch.testing.assert_close(
        teacher(batch(), PLAN)["image"].part("embedding"), patched(batch(), PLAN)["image"].part("embedding")
    )


def test_removed_tokens_are_gone_class_tokens_stay_and_the_grid_with_them() -> None:
    patched = model()
    apply_patches(patched, [{**DROP, "rate": 0.75}])
    rows = patched(batch(), PLAN)["image"]
    assert rows.tokens.shape == (3, 4, 16)
    assert rows.grid is None
    seen: list[torch.Tensor] = []
    patched.towers["image"].backbone.blocks[0].norm1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone = patched.towers["image"].backbone
    patched(batch(), PLAN)
    prepared = (batch()["image"].values - 0.5) / 0.25
    whole = backbone.norm_pre(backbone._pos_embed(backbone.patch_embed(prepared)))
    torch.testing.assert_close(seen[0][:, 0], whole[:, 0])
    for row in range(3):
        places = [(whole[row] - token).abs().sum(dim=1).argmin().item() for token in seen[0][row]]
        assert places == sorted(set(places))


@pytest.mark.parametrize(("rate", "count", "left"), [(0.7, 10, 3), (0.9, 10, 1), (0.5, 9, 5), (0.75, 196, 49)])
def test_what_is_left_of_the_tokens_is_the_rounded_up_share_and_no_token_of_rounding(
    rate: float, count: int, left: int
) -> None:
    site = TokenSite(torch.nn.Identity(), "after", prefix=1, removable=True)
    patch = TokenDropout(site=site, uniform=lambda n: torch.rand(2, n), rate=rate)
    assert patch(torch.rand(2, 1 + count, 4), torch.zeros(0)).shape == (2, 1 + left, 4)


def test_nothing_is_dropped_or_added_in_evaluation() -> None:
    patched, plain = model(), model()
    apply_patches(patched, [DROP, NOISE])
    first, second = patched.eval()(batch(), PLAN), plain.eval()(batch(), PLAN)
    assert torch.equal(first["image"].part("embedding"), second["image"].part("embedding"))


@pytest.mark.parametrize("spec", [DROP, NOISE, {**DROP, "mode": "zero"}])
def test_draws_follow_the_sample_through_chunks_and_change_with_seed_and_position(spec: dict) -> None:
    patched = model()
    apply_patches(patched, [spec], seed=3)
    whole = patched(batch(), PLAN)["image"].part("embedding")
    chunks = [patched(chunk, PLAN)["image"].part("embedding") for _, chunk in batch().chunks(3)]
    torch.testing.assert_close(torch.cat(chunks), whole)
    assert torch.equal(patched(batch(), PLAN)["image"].part("embedding"), whole)
    later = Batch(batch().ids, batch().positions + 3, batch().columns)
    assert not torch.allclose(patched(later, PLAN)["image"].part("embedding"), whole)
    patched.draws.seed = 4
    assert not torch.allclose(patched(batch(), PLAN)["image"].part("embedding"), whole)


def test_equal_images_of_different_samples_lose_different_tokens() -> None:
    patched = model()
    apply_patches(patched, [DROP])
    twice = Batch.of({"image": images(1, 64).expand(2, -1, -1, -1)})
    first, second = patched(twice, Plan.of(keys("image/embedding")))["image"].part("embedding")
    assert not torch.allclose(first, second)


def test_noise_is_standard_normal_times_its_size() -> None:
    patched = model()
    before = patched(batch(), Plan.of(keys("image/pooled")))["image"].pooled
    apply_patches(patched, [NOISE])
    noise = []
    for start in range(0, 3000, 3):
        patched.draws.enter("image", torch.arange(start, start + 3), torch.arange(3))
        noise.append(patched.towers["image"].pooled_output(before) - before)
    values = torch.cat(noise) / 0.3
    assert abs(values.mean().item()) < 0.02
    assert abs(values.std().item() - 1) < 0.02
    assert abs((values.abs() < 1).float().mean().item() - 0.6827) < 0.01


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            {**LORA, "on": "linear[blocks.0.attn.qvk]"},
            r"patches\[0\].on .* no such site: did you mean 'linear\[blocks.0.attn.qkv\]'",
        ),
        ({**LORA, "kind": "volume"}, r"patches\[0\].kind is 'volume', and there is no such tower"),
        ({**LORA, "on": "tokens.input"}, "LoRA stands at linear layers, and 'tokens.input' is none"),
        ({**LORA, "rang": 2}, r"patches\[0\].rang is not a known key: did you mean 'rank'"),
        ({**DROP, "on": "block.after[0]"}, "token_dropout stands at tokens.input, and 'block.after"),
        ({**DROP, "kind": "text"}, "Tokens of the text tower are masked .* set mode to zero"),
        ({"name": "lora2"}, "did you mean 'lora'"),
    ],
)
def test_faulty_patches_are_refused_and_leave_the_model_as_it_was(spec: dict, sentence: str) -> None:
    patched, plain = model(), model()
    with pytest.raises(ConfigError, match=sentence):
        apply_patches(patched, [spec])
    with pytest.raises(ConfigError):
        apply_patches(patched, [LORA, spec])
    assert len(patched.patches) == 0
    first, second = patched(batch(), PLAN), plain(batch(), PLAN)
    assert torch.equal(first["image"].part("embedding"), second["image"].part("embedding"))


def test_lora_where_timm_calls_no_linear_layer_is_refused() -> None:
    beit = dual({**DUAL, "vision": {**VIT, "architecture": "beit_base_patch16_224"}})
    with pytest.raises(ConfigError, match=r"patches\[0\].on .* no such site"):
        apply_patches(beit, [{**LORA, "on": "linear[*qkv*]"}])


def test_noise_where_rows_are_reordered_is_refused() -> None:
    patched = model()
    apply_patches(patched, [{**NOISE, "kind": "text", "on": "block.after[0]"}])
    many = Batch.of({"text": [f"word {i}" for i in range(40)]})
    with pytest.raises(ConfigError, match=r"noise at 'block.after\[0\]' sees 32 of 40 rows in another order"):
        patched(many, Plan.of(keys("text/raw")))

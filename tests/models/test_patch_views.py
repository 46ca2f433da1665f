"""Patches that act on some views only, add tokens, and say what they did."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.patches import apply_patches
from medvlp.text.wordpiece import train_wordpiece
from tests.models.words import DUAL, TEXT, VIT, HashWords, images
from tests.plugins import installed

CLASSES = ("effusion", "nodule", "rib fracture", "no finding of any kind")
REPORTS = ("large left effusion", "no effusion", "nodule in the right lung")
BANKS = {"bare": Bank("bare", tuple(f"see {c}" for c in CLASSES))}
BANKS |= {"hand": Bank("hand", tuple(f"see a photo of {c}" for c in CLASSES))}
BERT = {"name": "transformers", "config": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}}
BERT["config"] |= {"intermediate_size": 24, "model_type": "bert", "max_position_embeddings": 40}
ROBERTA = {**BERT, "config": {**BERT["config"], "model_type": "roberta"}}
TOWERS = [{**TEXT, "pool": pool} for pool in ("mean", "cls", "last")]
TOWERS += [{**BERT, "pool": "mean"}, {**BERT, "pool": "pooler"}, {**ROBERTA, "pool": "mean"}, ROBERTA]
COOP = {"name": "context_tokens", "kind": "text", "view": "bank.bare"}
MASK = {"name": "masked_image", "kind": "image", "view": "image.local", "share": 1.0, "ratio": [0.4, 0.6]}
PROMPTS = {"name": "context_tokens", "kind": "image", "on": "tokens.input", "at": "end"}
SINGLE = {"name": "single", "image_size": 32, "patch_size": 8, "width": 16, "layers": 2, "attention_heads": 2}
VISION = [{**VIT}, {**VIT, "pool": "avg"}]


@pytest.fixture(autouse=True)
def methods() -> Iterator[None]:
    with installed(context_tokens="models/patches tests.methods.context_tokens:ContextTokens"):
        yield


def model(text: dict[str, Any] = TEXT, banks: dict[str, Bank] = BANKS, **changes: Any) -> TowerModel:
    built = build_model({**DUAL, "text": text, **changes}, tokenizer=HashWords(), banks=banks, seed=3)
    assert isinstance(built, TowerModel)
    return built


def batch(size: int = 32) -> Batch:
    columns = {"image": images(3, size), "image.local": images(3, size, seed=1), "text": list(REPORTS)}
    return Batch.of(columns)


def vectors_of(tower: Any, words: str) -> torch.Tensor:
    ids = HashWords()([words]).ids[:, : len(words.split())]
    table = tower.word if hasattr(tower, "word") else tower.backbone.get_input_embeddings()
    return table(ids).detach()


# texts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TOWERS, ids=lambda t: f"{t['name']} {t.get('pool')}")
def test_contexts_that_start_as_words_are_the_hand_written_prompt(text: dict[str, Any]) -> None:
    many = {name: Bank(name, tuple(f"{t} {i}" for t in b.texts for i in range(10))) for name, b in BANKS.items()}
    for banks in (BANKS, many):  # 40 texts are encoded in groups of like length
        patched = model(text, banks).eval()
        apply_patches(patched, [COOP])
        (patch,) = patched.patches.values()
        with torch.no_grad():
            patch.context.copy_(vectors_of(patched.towers["text"], "a photo of"))
        plan = Plan.of(keys("bank.bare/embedding", "bank.hand/embedding", "bank.bare/tokens", "bank.hand/tokens"))
        rows = patched(batch(), plan)
        got, hand = rows["bank.bare"], rows["bank.hand"]
        torch.testing.assert_close(got.part("embedding"), hand.part("embedding"))
        # What comes out is a token for each word of the text itself: all but the three after the first.
        own = torch.cat([hand.tokens[:, :1], hand.tokens[:, 4:]], dim=1)
        assert torch.equal(got.mask, torch.cat([hand.mask[:, :1], hand.mask[:, 4:]], dim=1))
        torch.testing.assert_close(got.tokens[got.mask], own[got.mask])


def test_layers_and_attention_are_those_of_the_hand_written_prompt_between_the_texts_own_words() -> None:
    patched = model().eval()
    apply_patches(patched, [COOP])
    (patch,) = patched.patches.values()
    with torch.no_grad():
        patch.context.copy_(vectors_of(patched.towers["text"], "a photo of"))
    both = ("layers", "attention", "mask")
    rows = patched(batch(), Plan.of(keys(*(f"bank.{name}/{part}" for name in BANKS for part in both))))
    kept = torch.tensor([0, *range(4, rows["bank.hand"].mask.shape[1])])
    torch.testing.assert_close(rows["bank.bare"].layers, rows["bank.hand"].layers[:, :, kept])
    by_hand = rows["bank.hand"].attention[:, :, kept][..., kept]
    torch.testing.assert_close(rows["bank.bare"].attention, by_hand)


@pytest.mark.parametrize("text", [TEXT, BERT, ROBERTA], ids=["own", "bert", "roberta"])
def test_a_bank_is_prompted_and_reports_and_other_banks_stay_bit_for_bit(text: dict[str, Any]) -> None:
    patched, plain = model(text).eval(), model(text).eval()
    handle = apply_patches(patched, [COOP])
    plan = Plan.of(keys("bank.bare/embedding", "bank.hand/embedding", "text/embedding", "text/tokens"))
    first, second = patched(batch(), plan), plain(batch(), plan)
    assert not torch.allclose(first["bank.bare"].part("embedding"), second["bank.bare"].part("embedding"))
    for view, part in (("bank.hand", "embedding"), ("text", "embedding"), ("text", "tokens")):
        assert torch.equal(first[view].part(part), second[view].part(part))
    handle.remove()
    again = patched(batch(), plan)
    assert torch.equal(again["bank.bare"].part("embedding"), second["bank.bare"].part("embedding"))
    assert list(patched.state_dict()) == list(plain.state_dict())
    assert patched.spec == plain.spec


def test_class_specific_contexts_belong_to_the_texts_of_the_bank() -> None:
    patched = model()
    apply_patches(patched, [{**COOP, "specific": True}])
    (patch,) = patched.patches.values()
    assert patch.context.shape == (4, 3, 16)
    plan = Plan.of(keys("bank.bare/embedding"))
    patched(batch(), plan)["bank.bare"].part("embedding")[2].sum().backward()
    moved = patch.context.grad.abs().sum(dim=(1, 2)) > 0
    assert moved.tolist() == [False, False, True, False]
    order = torch.tensor([2, 0, 3, 1])
    other = model(banks={**BANKS, "bare": Bank("bare", tuple(BANKS["bare"].texts[i] for i in order))})
    apply_patches(other, [{**COOP, "specific": True}])
    with torch.no_grad():
        next(iter(other.patches.values())).context.copy_(patch.context[order])
    expected, got = (m(batch(), plan)["bank.bare"].part("embedding") for m in (patched, other))
    torch.testing.assert_close(got, expected[order])


def test_a_text_that_is_too_long_with_what_is_added_is_refused() -> None:
    patched = model()
    apply_patches(patched, [{**COOP, "view": "text", "count": 8}])
    long = Batch.of({"text": [" ".join(["word"] * 24)]})
    with pytest.raises(
        ConfigError, match=r"A text of 24 tokens and 8 that a patch adds are more than tokenizer.max_length 24"
    ):
        patched(long, Plan.of(keys("text/raw")))


def test_a_bundle_keeps_contexts_and_where_they_act(tmp_path: Path) -> None:
    words = train_wordpiece([*BANKS["hand"].texts] * 3, vocab_size=128, max_length=16)
    patched: Any = build_model(DUAL, tokenizer=words, banks=BANKS, seed=3)
    apply_patches(patched, [{**COOP, "specific": True}])
    save_bundle(tmp_path / "b", Bundle(model=patched, tokenizer=words, preprocessing=[]))
    again = load_bundle(tmp_path / "b").model
    plan = Plan.of(keys("bank.bare/embedding", "text/embedding"))
    first, second = patched.eval()(batch(), plan), again(batch(), plan)
    for view in ("bank.bare", "text"):
        assert torch.equal(first[view].part("embedding"), second[view].part("embedding"))


# images -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vision", VISION, ids=["class token", "mean"])
def test_visual_prompts_are_seen_by_the_blocks_and_no_tokens_of_the_picture(vision: dict[str, Any]) -> None:
    patched = model(vision=vision).eval()
    apply_patches(patched, [{**PROMPTS, "count": 5}])
    (patch,) = patched.patches.values()
    parts = ("pooled", "tokens", "mask", "layers", "attention")
    rows = patched(batch(64), Plan.of(keys(*(f"image/{part}" for part in parts))))["image"]
    assert (rows.tokens.shape, rows.mask.shape, rows.grid) == ((3, 16, 16), (3, 16), (4, 4))
    backbone = model(vision=vision).eval().towers["image"].backbone
    whole = backbone._pos_embed(backbone.patch_embed((batch(64)["image"].values - 0.5) / 0.25))
    whole = backbone.norm_pre(whole)
    whole = torch.cat([whole, patch.context.expand(3, -1, -1)], dim=1)
    prefix = backbone.num_prefix_tokens
    for i, block in enumerate(backbone.blocks):
        whole = block(whole)
        torch.testing.assert_close(rows.layers[:, i], whole[:, prefix:-5])
    whole = backbone.norm(whole)
    torch.testing.assert_close(rows.tokens, whole[:, prefix:-5])
    torch.testing.assert_close(rows.pooled, backbone.forward_head(whole[:, :-5], pre_logits=True))
    assert rows.attention.shape == (3, 2, prefix + 16, 16)
    assert (rows.attention.sum(dim=-1) < 1).all()  # the prompts have their share


def test_a_single_tower_takes_prompts_too() -> None:
    patched = build_model({**SINGLE, "embed_dim": 8}, tokenizer=HashWords(), seed=3).eval()
    plan = Plan.of(keys("image/pooled", "image/tokens", "text/embedding"))
    before = patched(batch(), plan)
    handle = apply_patches(patched, [PROMPTS])
    rows = patched(batch(), plan)
    assert (rows["image"].tokens.shape, rows["image"].grid) == ((3, 16, 16), (4, 4))
    torch.testing.assert_close(rows["image"].pooled, rows["image"].tokens.mean(dim=1))
    assert not torch.allclose(rows["image"].pooled, before["image"].pooled)
    assert torch.equal(rows["text"].part("embedding"), before["text"].part("embedding"))
    handle.remove()
    assert torch.equal(patched(batch(), plan)["image"].pooled, before["image"].pooled)


def test_masking_changes_one_view_in_training_and_says_what_it_hid() -> None:
    patched, plain = model(vision=VIT), model(vision=VIT)
    apply_patches(patched, [MASK], seed=1)
    plan = Plan.of(keys("image/tokens", "image.local/tokens", "image.local/hidden"))
    bare = Plan.of(keys("image/tokens", "image.local/tokens"))
    first, second = patched(batch(64), plan), plain(batch(64), bare)
    assert torch.equal(first["image"].tokens, second["image"].tokens)
    hidden = first["image.local"].part("hidden")
    assert (hidden.shape, hidden.dtype) == ((3, 16), torch.bool)
    assert 0 < hidden.sum() < hidden.numel()
    # A picture that is as bright as the mask where it is hidden looks the same: the tokens hidden are those said.
    again = copy.deepcopy(patched)
    pixels = batch(64)["image.local"].values.clone()
    patches = pixels.unfold(2, 16, 16).unfold(3, 16, 16).flatten(2, 3)
    patches[hidden[:, None].expand(-1, 1, -1)] = 0.7
    rebuilt = patches.view(3, 1, 4, 4, 16, 16).transpose(3, 4).reshape(3, 1, 64, 64)
    changed = Batch.of({"image": batch(64)["image"].values, "image.local": rebuilt})
    torch.testing.assert_close(again(changed, plan)["image.local"].tokens, first["image.local"].tokens)
    patched.eval(), plain.eval()
    assert not patched(batch(64), plan)["image.local"].part("hidden").any()
    assert torch.equal(patched(batch(64), plan)["image.local"].tokens, plain(batch(64), bare)["image.local"].tokens)


DYNAMIC = {**VIT, "options": {**VIT["options"], "dynamic_img_size": True}}


@pytest.mark.parametrize(
    ("spec", "size"),
    [({**DUAL, "vision": VIT}, 64), ({**DUAL, "vision": DYNAMIC}, 64), ({**SINGLE, "embed_dim": 8}, 32)],
    ids=["timm", "sizes that differ", "single"],
)
def test_a_hidden_token_keeps_its_place(spec: dict[str, Any], size: int) -> None:
    patched = build_model(spec, tokenizer=HashWords(), seed=3)
    apply_patches(patched, [{**MASK, "ratio": [1.0, 1.0]}])
    rows = patched(batch(size), Plan.of(keys("image.local/tokens", "image.local/hidden")))["image.local"]
    assert rows.part("hidden").all()
    torch.testing.assert_close(rows.tokens[0], rows.tokens[1])  # nothing of the pictures is left
    apart = torch.cdist(rows.tokens[0], rows.tokens[0]) + 9 * torch.eye(16)
    assert apart.min() > 1e-3  # but where each token lies


def test_tokens_are_dropped_before_they_are_added_to() -> None:
    drop = {"name": "token_dropout", "kind": "image", "rate": 0.5}
    patched = model(vision=VIT)
    apply_patches(patched, [drop, PROMPTS])
    assert patched(batch(64), Plan.of(keys("image/tokens")))["image"].tokens.shape == (3, 8, 16)
    patched = model(vision=VIT)
    apply_patches(patched, [PROMPTS, drop])
    with pytest.raises(ConfigError, match=r"'token_dropout@image:tokens.input' takes tokens away after another patch"):
        patched(batch(64), Plan.of(keys("image/tokens")))


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_hidden_is_said_of_all_tokens_so_none_is_taken_away_beside(order: int) -> None:
    drop = {"name": "token_dropout", "kind": "image", "rate": 0.5}
    asked = Plan.of(keys("image.local/tokens", "image.local/hidden"))
    patched = model(vision=VIT)
    apply_patches(patched, [MASK, drop][::order])
    with pytest.raises(ConfigError, match=r"takes tokens away where others are hidden .* set its mode to zero"):
        patched(batch(64), asked)
    patched = model(vision=VIT)
    apply_patches(patched, [MASK, {**drop, "mode": "zero"}][::order])
    rows = patched(batch(64), asked)["image.local"]
    assert rows.tokens.shape[:2] == rows.part("hidden").shape


def test_a_part_that_no_patch_gives_at_a_view_is_refused() -> None:
    patched = model(vision=VIT)
    with pytest.raises(ConfigError, match=r"'image.local/hidden' cannot be computed"):
        patched.check(Plan.of(keys("image.local/hidden")))
    handle = apply_patches(patched, [MASK])
    patched.check(Plan.of(keys("image.local/hidden")))
    with pytest.raises(ConfigError, match=r"'image/hidden' cannot be computed"):
        patched.check(Plan.of(keys("image/hidden")))
    handle.remove()
    with pytest.raises(ConfigError, match=r"'image.local/hidden' cannot be computed"):
        patched.check(Plan.of(keys("image.local/hidden")))


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        (
            [{**COOP, "view": "bank.bear"}],
            r"patches\[0\].view is 'bank.bear', .* encodes the banks bare, hand, as texts",
        ),
        ([{**MASK, "view": "bank.*"}], r"patches\[0\].view is 'bank.\*', and the image tower encodes no such view"),
        ([{**MASK, "view": "text"}], r"patches\[0\].view is 'text', and the image tower encodes no such view"),
        ([MASK, {**MASK, "view": "image"}], r"patches\[1\]: the model gives image/hidden already"),
    ],
)
def test_faulty_views_and_parts_are_refused(specs: list[dict[str, Any]], sentence: str) -> None:
    patched = model(vision=VIT)
    with pytest.raises(ConfigError, match=sentence):
        apply_patches(patched, specs)
    assert not patched.patches
    assert not patched.standing


def test_tokens_cannot_be_added_inside_the_blocks() -> None:
    patched = model()
    apply_patches(patched, [{**COOP, "on": "block.before[1]"}])
    with pytest.raises(ConfigError, match=r"adds tokens where its tower can take none: put it at words.input"):
        patched(batch(), Plan.of(keys("bank.bare/raw")))

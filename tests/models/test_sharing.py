"""Modules that heads and patches of both towers have together."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.patches import apply_patches
from medvlp.text.wordpiece import train_wordpiece
from tests.methods.world import MAPLE, methods
from tests.models.test_patch_views import batch
from tests.models.words import DUAL, VIT, HashWords

BANKS = {"words": Bank("words", ("see effusion", "see nodule"))}
CODES = {"codes": 12, "temperature": 1.0}
FDT = {"projection": {"name": "fdt", **CODES}}
WORDS = train_wordpiece(["see effusion or nodule in the right lung"] * 3, vocab_size=128, max_length=16)


@pytest.fixture(autouse=True)
def components() -> Iterator[None]:
    with methods():
        yield


def model(words: Any = None, **changes: Any) -> Any:
    spec = {**DUAL, "vision": VIT, **changes}
    return build_model(spec, tokenizer=words or HashWords(), banks=BANKS, seed=3)


# heads --------------------------------------------------------------------------------------------------------------


def test_one_codebook_serves_both_towers_and_stands_in_the_state_once() -> None:
    both = model(**FDT)
    codes = [name for name in both.state_dict() if "codes" in name]
    assert codes == ["shared.codebook.codes"]
    assert len([p for p in both.parameters() if p.shape == (12, 8)]) == 1
    plan = Plan.of(keys("image/raw", "image/raw_weights", "text/embedding", "text/raw_weights"))
    rows = both(batch(64), plan)
    for view in ("image", "text"):
        weights = rows[view].part("raw_weights")
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
        torch.testing.assert_close(rows[view].part("raw"), weights @ both.shared["codebook"].codes)
    for view in ("image", "text"):
        both.zero_grad()
        both(batch(64), plan)[view].part("raw").sum().backward()
        assert both.shared["codebook"].codes.grad.abs().max() > 0


def test_who_asks_first_does_not_matter_and_a_copy_shares_its_own() -> None:
    first, both = model(**FDT), model(**FDT, heads={"text/also": {"name": "fdt", **CODES}})
    assert torch.equal(first.shared["codebook"].codes, both.shared["codebook"].codes)
    teacher = copy.deepcopy(both)
    with torch.no_grad():
        both.shared["codebook"].codes.zero_()
    plan = Plan.of(keys("image/raw", "text/also"))
    rows = teacher(batch(64), plan)
    assert rows["image"].part("raw").abs().max() > 0
    with torch.no_grad():
        teacher.shared["codebook"].codes.zero_()
    assert teacher(batch(64), plan)["text"].part("also").abs().max() == 0


def test_a_bundle_has_a_shared_module_if_what_it_keeps_shares_it(tmp_path: Path) -> None:
    plan = Plan.of(keys("image/fdt", "text/fdt", "image/embedding"))
    for keep in (True, False):
        trained = model(WORDS)
        trained.mount({"image/fdt": HeadSpec("fdt", CODES, keep=keep), "text/fdt": HeadSpec("fdt", CODES)}, plan)
        with torch.no_grad():
            trained.shared["codebook"].codes.mul_(2)
        save_bundle(tmp_path / str(keep), Bundle(model=trained, tokenizer=WORDS, preprocessing=[]))
        again = load_bundle(tmp_path / str(keep)).model
        assert ("codebook" in again.shared) == keep
        view = "fdt" if keep else "embedding"
        some = Plan.of(keys(f"image/{view}"))
        assert torch.equal(
            again(batch(64), some)["image"].part(view), trained.eval()(batch(64), some)["image"].part(view)
        )


def test_two_who_mean_different_modules_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"the shared module 'codebook' is a Codebook .*\(12, 8\).*\(5, 8\).* is asked"
    ):
        model(**FDT, heads={"text/also": {"name": "fdt", **CODES, "codes": 5}})
    with pytest.raises(ConfigError, match=r"shared is 'a.b': use a name without dots"):
        model(**FDT, heads={"text/also": {"name": "fdt", **CODES, "shared": "a.b"}})


# patches ------------------------------------------------------------------------------------------------------------


def test_one_object_prompts_both_towers_and_is_gone_with_the_last_patch() -> None:
    patched, plain = model().eval(), model().eval()
    handles = [apply_patches(patched, [spec]) for spec in MAPLE]
    own = {name: tensor.numel() for name, tensor in patched.state_dict().items() if name not in plain.state_dict()}
    assert all(name.startswith("shared.maple.") for name in own)
    assert sum(own.values()) == 2 * 2 * 16 + 2 * (16 * 16 + 16)
    plan = Plan.of(keys("image/embedding", "bank.words/embedding", "text/embedding"))
    patched(batch(64), plan)["image"].part("embedding")[:, 0].sum().backward()
    # What the picture asks for moves the prompts of the words.
    assert all(p.grad.abs().max() > 0 for p in patched.shared["maple"].prompts)
    for handle in handles:
        assert "maple" in patched.shared
        handle.remove()
    assert list(patched.state_dict()) == list(plain.state_dict())
    first, second = patched(batch(64), plan), plain(batch(64), plan)
    assert all(torch.equal(first[v].part("embedding"), second[v].part("embedding")) for v in plan.views)


def test_maple_by_hand() -> None:
    patched = model().eval()
    apply_patches(patched, MAPLE)
    shared: Any = patched.shared["maple"]
    rows = patched(batch(64), Plan.of(keys("image/tokens", "bank.words/tokens", "bank.words/pooled")))
    plain = model().eval()
    backbone = plain.towers["image"].backbone
    tokens = backbone._pos_embed(backbone.patch_embed((batch(64)["image"].values - 0.5) / 0.25))
    for depth, block in enumerate(backbone.blocks):
        prompts = shared.couple[depth](shared.prompts[depth]).expand(3, -1, -1)
        tokens = block(torch.cat([tokens[:, :17], prompts], dim=1))
    torch.testing.assert_close(rows["image"].tokens, backbone.norm(tokens)[:, 1:17])
    tower = plain.towers["text"]
    ids = HashWords()(list(BANKS["words"].texts)).ids[:, :2]
    words = tower.word(ids)
    tokens = torch.cat([shared.prompts[0].expand(2, -1, -1), words], dim=1) + tower.position[:4]
    tokens = tower.trunk.blocks[0](tokens, None)
    tokens = torch.cat([shared.prompts[1].expand(2, -1, -1), tokens[:, 2:]], dim=1)
    tokens = tower.trunk.norm(tower.trunk.blocks[1](tokens, None))
    torch.testing.assert_close(rows["bank.words"].pooled, tokens.mean(dim=1))
    torch.testing.assert_close(rows["bank.words"].tokens, tokens[:, 2:])


def test_a_fault_in_a_later_patch_takes_what_was_shared_with_it() -> None:
    patched = model()
    with pytest.raises(ConfigError, match="no such site"):
        apply_patches(patched, [*MAPLE, {**MAPLE[0], "on": "block.before[7]"}])
    assert not patched.shared
    assert not patched.patches


def test_a_patch_and_a_head_after_the_towers_share_nothing() -> None:
    mixed = model(heads={"image/late": {"name": "fdt", **CODES, "stage": "batch"}})
    with pytest.raises(ConfigError, match=r"shares 'codebook' with 'image/late', and one of the two runs inside"):
        mixed.mount({"text/early": HeadSpec("fdt", CODES)}, Plan.of(keys("text/early")))


def test_a_bundle_prompts_as_the_trained_model_did(tmp_path: Path) -> None:
    trained = model(WORDS)
    apply_patches(trained, MAPLE)
    with torch.no_grad():
        trained.shared["maple"].prompts[0].add_(0.5)
    save_bundle(tmp_path / "b", Bundle(model=trained, tokenizer=WORDS, preprocessing=[]))
    again = load_bundle(tmp_path / "b").model
    plan = Plan.of(keys("image/embedding", "bank.words/embedding"))
    first, second = trained.eval()(batch(64), plan), again(batch(64), plan)
    assert all(torch.equal(first[v].part("embedding"), second[v].part("embedding")) for v in plan.views)

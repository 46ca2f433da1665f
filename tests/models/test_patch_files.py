"""What a run added to a bundle, saved and loaded alone beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medvlp.answers.asking.model import load
from medvlp.core.errors import UserError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle, save_bundle, save_patches
from medvlp.models.patches import apply_patches
from medvlp.text.wordpiece import train_wordpiece
from tests.models.prompts import FINDINGS, NAMES, WORDS, drawn, logits, model
from tests.models.test_tuning import BANK, MAPLE, QKV
from tests.models.words import DUAL, VIT

READ = {"name": "read", "size": 32}
ANSWER = StoredAnswer("findings", "findings", {"labels": list("abcd")}, list("abcd"))
KINDS = {
    "coop": [{"name": "coop", **BANK}],
    "ctp": [{"name": "ctp", **BANK}],
    "maple": MAPLE,
    "dora": [{"name": "dora", "on": QKV, "rank": 2}],
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A bundle of towers alone."""
    bare = load_towers()
    save_bundle(tmp_path / "base", Bundle(bare, WORDS, preprocessing=[READ], provenance={"recipe": "base"}))
    return tmp_path / "base"


def load_towers() -> Any:
    banks = {"names": Bank("names", NAMES)}
    return build_model({**DUAL, "vision": {**VIT, "image_size": 32}}, tokenizer=WORDS, banks=banks, seed=9)


def tuned(base: Path, specs: list[dict[str, Any]]) -> Bundle:
    """The bundle with patches on it, drawn, a head that reads them, and an answer."""
    bundle = load_bundle(base)
    built: Any = bundle.model
    apply_patches(built, specs, seed=1)
    spec = HeadSpec("text_classifier", {"bank": "names", "classes": len(NAMES)}, keep=True)
    built.mount({"findings": spec}, Plan.of(keys(FINDINGS)))
    for part in (built.patches, built.shared):
        drawn(part)
    return dataclasses.replace(bundle, model=built.eval(), answers=(ANSWER,), card="tuned")


@pytest.mark.parametrize("kind", KINDS)
def test_loaded_beside_its_bundle_it_is_the_whole_bundle_bit_for_bit(base: Path, tmp_path: Path, kind: str) -> None:
    whole = tuned(base, KINDS[kind])
    save_bundle(tmp_path / "whole", whole)
    assert save_patches(tmp_path / "patches", whole, base=base)
    both, alone = load_bundle(base, patches=tmp_path / "patches"), load_bundle(tmp_path / "whole")
    expected = logits(whole.model)  # pyrefly: ignore
    assert torch.equal(logits(both.model), expected)  # pyrefly: ignore
    assert torch.equal(logits(alone.model), expected)  # pyrefly: ignore
    assert list(both.model.state_dict()) == list(alone.model.state_dict())
    assert (both.answers, both.card, both.preprocessing) == (alone.answers, alone.card, alone.preprocessing)
    kept = load_file(tmp_path / "patches" / "model.safetensors")
    assert kept
    assert all(name.startswith(("patches.", "shared.")) for name in kept)
    assert not (tmp_path / "patches" / "tokenizer").exists()
    assert both.hash not in (load_bundle(base).hash, alone.hash)


def test_parameters_of_the_towers_that_were_trained_are_kept_too(base: Path, tmp_path: Path) -> None:
    """BitFit: biases, and nothing else."""
    whole = tuned(base, [])
    with torch.no_grad():
        for name, parameter in whole.model.named_parameters():
            if name.startswith("towers.") and name.endswith("bias"):
                parameter.add_(0.1)
    assert save_patches(tmp_path / "patches", whole, base=base)
    kept = load_file(tmp_path / "patches" / "model.safetensors")
    assert kept
    assert all(name.endswith("bias") for name in kept)
    both = load_bundle(base, patches=tmp_path / "patches")
    assert torch.equal(logits(both.model), logits(whole.model))  # pyrefly: ignore


def test_a_model_that_is_mostly_another_is_not_saved_so(base: Path, tmp_path: Path) -> None:
    other = model()
    assert not save_patches(tmp_path / "patches", Bundle(other, WORDS, preprocessing=[READ]), base=base)
    words = train_wordpiece(["other words"] * 2, vocab_size=64, max_length=24)
    same = dataclasses.replace(load_bundle(base), tokenizer=words)
    assert not save_patches(tmp_path / "patches", same, base=base)
    assert not (tmp_path / "patches").exists()


def test_patches_of_another_bundle_are_refused(base: Path, tmp_path: Path) -> None:
    save_patches(tmp_path / "patches", tuned(base, KINDS["coop"]), base=base)
    changed = load_bundle(base)
    with torch.no_grad():
        next(changed.model.parameters()).add_(1)
    save_bundle(tmp_path / "other", changed)
    first, second = load_bundle(base).hash, load_bundle(tmp_path / "other").hash
    with pytest.raises(
        UserError, match=rf"The patches in .*patches belong to the bundle {first}, and this one is {second}"
    ):
        load(tmp_path / "other", patches=tmp_path / "patches")
    with pytest.raises(UserError, match=r"other is a whole bundle: name it alone"):
        load(base, patches=tmp_path / "other")
    with pytest.raises(UserError, match=rf"{tmp_path} is not a bundle .*did you mean {tmp_path / 'patches'}\?"):
        load(base, patches=tmp_path)
    with pytest.raises(UserError, match=r"holds the patches of a bundle and no model: load that bundle with patches="):
        load(tmp_path / "patches")
    assert load(base, patches=tmp_path / "patches").answers


def test_a_flipped_bit_in_patches_is_refused(base: Path, tmp_path: Path) -> None:
    save_patches(tmp_path / "patches", tuned(base, KINDS["coop"]), base=base)
    path = tmp_path / "patches" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged or was changed since it was released"):
        load(base, patches=tmp_path / "patches")

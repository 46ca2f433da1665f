"""Branches folded: the same outputs, fewer numbers, and a bundle that loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medvlp.core.errors import ConfigError
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.surgery import operate
from medvlp.text.wordpiece import train_wordpiece
from medvlp.zoo import convert
from tests.models.words import DUAL, VISION, HashWords, dual, images

SMALL = {"layers": [1, 1, 1, 1], "embed_dims": [8, 16, 32, 64]}
FASTVIT: dict[str, Any] = {"name": "timm", "architecture": "fastvit_t8", "image_size": 64, "options": SMALL}
FOLD = {"name": "reparameterize"}
PARTS = frozenset({"tokens", "pooled", "level[1]"})


def stirred(vision: dict[str, Any], words: Any = None) -> Any:
    """A model whose weights and running statistics have left their start."""
    model: Any = build_model({**DUAL, "vision": vision}, tokenizer=words or HashWords()).eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.towers["image"].named_buffers():
            if name.endswith("running_mean"):
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=draw))
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=draw))
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
    return model


@torch.no_grad()
def encoded(model: Any) -> dict[str, torch.Tensor]:
    rows = model.towers["image"](images(2, 64), parts=PARTS)
    return {name: rows.part(name) for name in PARTS}


@pytest.mark.parametrize(
    "changes",
    [{}, {"norm": "frozen"}, {"architecture": "fastvit_sa12", "options": {**SMALL, "embed_dims": [32, 32, 32, 64]}}],
    ids=["fastvit", "frozen", "attention"],
)
def test_a_folded_tower_gives_what_it_gave(changes: dict[str, Any]) -> None:
    model = stirred({**FASTVIT, **changes})
    before, count = encoded(model), sum(p.numel() for p in model.towers["image"].parameters())
    operate(model, [FOLD])
    for name, values in encoded(model).items():
        torch.testing.assert_close(values, before[name], rtol=1e-5, atol=1e-5 * float(before[name].abs().max()))
    assert sum(p.numel() for p in model.towers["image"].parameters()) < count
    assert model.spec["surgery"] == [{"name": "reparameterize", "kind": "image"}]
    with pytest.raises(ConfigError, match="has no branches to fold"):
        operate(model, [FOLD])


def test_both_towers_of_a_mixture_are_folded() -> None:
    spec = {"name": "mof", "first": FASTVIT, "second": {**FASTVIT, "pool": "max"}}
    model = stirred(spec)
    pixels = images(1, 64)
    with torch.no_grad():
        before = model.towers["image"](pixels, parts=frozenset({"tokens"})).part("tokens")
        operate(model, [FOLD])
        after = model.towers["image"](pixels, parts=frozenset({"tokens"})).part("tokens")
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5 * float(before.abs().max()))


def test_a_frozen_tower_stays_frozen_and_the_mode_stays() -> None:
    model = stirred(FASTVIT)
    model.towers["image"].requires_grad_(False)
    model.train()
    operate(model, [FOLD])
    assert not any(p.requires_grad for p in model.towers["image"].parameters())
    assert all(module.training for module in model.towers["image"].modules() if isinstance(module, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("vision", "sentence"),
    [
        ({**FASTVIT, "norm": "group"}, "image tower has no branches to fold|norm keep or frozen"),
        (VISION, "image tower has no branches to fold: reparameterize is for architectures of timm such as fastvit_t8"),
    ],
)
def test_what_cannot_be_folded_is_refused(vision: dict[str, Any], sentence: str) -> None:
    model = dual({**DUAL, "vision": vision})
    with pytest.raises(ConfigError, match=sentence):
        operate(model, [FOLD])
    with pytest.raises(ConfigError, match=r"surgery\[0\]: reparameterize finds no tower 'stack': "):
        operate(model, [{**FOLD, "kind": "stack"}])


def test_a_bundle_is_folded_for_release_and_loads(tmp_path: Path) -> None:
    words = train_wordpiece(["left effusion", "no effusion"] * 2, vocab_size=64, max_length=12)
    model = stirred(FASTVIT, words)
    save_bundle(tmp_path / "trained", Bundle(model, words, preprocessing=[{"name": "read", "size": 64}]))
    folded = convert(tmp_path / "trained", name="operated", options={"surgery": [FOLD]})
    assert folded.provenance["operated"] == ["reparameterize"]
    save_bundle(tmp_path / "folded", folded)
    size = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("trained", "folded")}
    assert size["folded"] < size["trained"]
    again = load_bundle(tmp_path / "folded").model
    for name, values in encoded(again).items():
        torch.testing.assert_close(values, encoded(model)[name], rtol=1e-5, atol=1e-4)
    with pytest.raises(ConfigError, match=r"surgery\[0\]: The image tower has no branches to fold"):
        convert(tmp_path / "folded", name="operated", options={"surgery": [FOLD]})


def test_fastvit_is_not_laid_out_channels_last_unless_asked() -> None:
    """In that order oneDNN damages the heap after a few steps on a CPU, in timm's own model too."""
    orders = [dual({**DUAL, "vision": spec}).towers["image"]._memory for spec in (FASTVIT, {**VISION, "norm": "keep"})]
    assert orders == [torch.contiguous_format, torch.channels_last]

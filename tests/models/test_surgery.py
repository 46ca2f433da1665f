"""Surgery changes shapes by its formula, keeps what the model knew, and is in the model's specification."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp.answers.asking.model import load
from medvlp.core import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.patches import apply_patches
from medvlp.models.surgery import operate
from medvlp.models.surgery.stretch_positions import stretched
from medvlp.text import train_wordpiece
from medvlp.text.saved_tokenizers import load_tokenizer
from medvlp.zoo import convert
from medvlp.zoo.exports._embedders import embedders, write_graphs
from tests.models.words import DUAL, VIT, HashWords, dual, pairs

PLAN = Plan.of(keys("image/embedding", "text/embedding"))
SINGLE: dict[str, Any] = {"name": "single", "image_size": 32, "patch_size": 8, "width": 16, "layers": 2}
SINGLE |= {"attention_heads": 2, "embed_dim": 8}
STRETCH: dict[str, Any] = {"name": "stretch_positions", "keep": 4, "ratio": 3}


def embeddings(model: Any, batch: Any) -> dict[str, torch.Tensor]:
    model.eval()
    with torch.no_grad():
        return {view: rows.part("embedding") for view, rows in model(batch, PLAN).items()}


# stretch_positions --------------------------------------------------------------------------------------------------


def test_77_positions_become_the_248_of_long_clip() -> None:
    """The authors' loop, index by index (Long-CLIP, model/longclip.py, load_from_clip)."""
    old = torch.randn(77, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    new = torch.zeros(4 * 77 - 3 * 20, 3, dtype=torch.float64)
    new[:20] = old[:20]
    for i in range(77 - 1 - 20):
        for j in range(4):
            new[4 * i + 20 + j] = (4 - j) * old[i + 20] / 4 + j * old[i + 21] / 4
    for j in range(4):
        new[4 * 77 - 3 * 20 - 4 + j] = old[76] + j * (old[76] - old[75]) / 4
    got = stretched(old, keep=20, ratio=4)
    assert got.shape == (248, 3)
    torch.testing.assert_close(got, new, rtol=1e-14, atol=1e-14)
    assert torch.equal(got[:20], old[:20])
    assert torch.equal(got[20::4], old[20:])


def test_a_line_stays_a_line() -> None:
    line = torch.arange(10, dtype=torch.float64)[:, None] * torch.tensor([1.0, -2.0], dtype=torch.float64)
    steps = stretched(line, keep=3, ratio=5)[3:].diff(dim=0)
    torch.testing.assert_close(steps, torch.tensor([[0.2, -0.4]], dtype=torch.float64).expand(34, 2))


@pytest.mark.parametrize("spec", [DUAL, SINGLE], ids=["dual", "single"])
def test_short_texts_are_read_as_before_and_long_ones_to_the_new_end(spec: dict[str, Any]) -> None:
    model = build_model(spec, tokenizer=HashWords(max_length=12), seed=1)
    words = [f"w{i}" for i in range(40)]
    short, long = pairs(["a b c", "d", "no"]), pairs([" ".join(words[:n]) for n in (28, 29, 40)])
    before = embeddings(model, short)
    cut = embeddings(model, long)["text"]
    assert torch.equal(cut[0], cut[1])  # both were cut after 12 words
    operate(model, [STRETCH])
    assert model.towers["text"].position.shape == (4 + 3 * 8, 16)
    assert all(torch.equal(rows, before[view]) for view, rows in embeddings(model, short).items())
    read = embeddings(model, long)["text"]
    torch.testing.assert_close(read[1], read[0])  # word 29 is behind the new end
    assert not torch.allclose(read[0], cut[0], atol=1e-3)
    shorter = embeddings(model, pairs([" ".join(words[:27])] * 3))["text"]
    assert not torch.allclose(shorter[0], read[0], atol=1e-5)  # word 28 is not


def test_a_bundle_that_is_stretched_for_release_loads_exports_and_is_operated_again(tmp_path: Path) -> None:
    words = train_wordpiece(["left effusion", "no effusion"] * 2, vocab_size=64, max_length=12)
    model = build_model(DUAL, tokenizer=words, seed=1)
    save_bundle(tmp_path / "trained", Bundle(model, words, preprocessing=[{"name": "read", "size": 32}]))
    long = convert(tmp_path / "trained", name="operated", options={"surgery": [STRETCH]})
    asked = pairs(["no effusion", "left " * 20 + "effusion", "left " * 20])
    expected = embeddings(long.model, asked)
    assert not torch.allclose(expected["text"][1], expected["text"][2], atol=1e-5)  # word 21 is read
    save_bundle(tmp_path / "long", long)
    again = load_bundle(tmp_path / "long")
    assert all(torch.equal(rows, expected[view]) for view, rows in embeddings(again.model, asked).items())
    # An exported folder's tokenizer stands alone: it cuts where the graph ends.
    (tmp_path / "out").mkdir()
    write_graphs(again, tmp_path / "out", lambda each: lambda given: each.module(*given))
    assert load_tokenizer(tmp_path / "out" / "tokenizer").max_length == 4 + 3 * 8
    assert list(embedders(again))[1].sizes[0][1].max == 4 + 3 * 8
    # A second surgery is done behind the first.
    cut = convert(tmp_path / "long", name="operated", options={"surgery": [{"name": "keep_prefix", "width": 4}]})
    save_bundle(tmp_path / "cut", cut)
    found = load(tmp_path / "cut").embed_text(["left " * 20 + "effusion"])
    first = torch.nn.functional.normalize(expected["text"][1:2, :4], dim=1)
    torch.testing.assert_close(torch.from_numpy(found), first, rtol=1e-5, atol=1e-6)


# grow_depth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "kind"),
    [({**DUAL, "vision": VIT}, "image"), (DUAL, "text"), (SINGLE, "image")],
    ids=["timm", "transformer", "shared trunk"],
)
def test_a_deeper_tower_computes_what_it_did_bit_for_bit(spec: dict[str, Any], kind: str) -> None:
    model = build_model(spec, tokenizer=HashWords(), seed=1)
    batch = pairs(size=64 if kind == "image" and spec is not SINGLE else 32)
    before, old = embeddings(model, batch), dict(model.named_parameters())
    operate(model, [{"name": "grow_depth", "kind": kind, "after": [0, 1]}])
    assert sum(name.startswith("block.before[") for name in model.towers[kind].sites()) == 4
    assert all(torch.equal(rows, before[view]) for view, rows in embeddings(model, batch).items())
    now = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(id(parameter) in now for parameter in old.values())  # under whatever name
    assert len(now) > len(old)
    model.train()
    sum(rows.part("embedding")[:, 0].sum() for rows in model(batch, PLAN).values()).backward()
    kept = {id(parameter) for parameter in old.values()}
    new = {name: p for name, p in model.named_parameters() if id(p) not in kept}
    grown = [p for name, p in new.items() if any(last in name for last in (".attention.output.", ".attn.proj."))]
    assert len(grown) == 4
    assert all(p.grad is not None and bool(p.grad.any()) for p in grown)  # the copy begins to move at the first step
    assert not any(bool(p.any()) for p in grown)


@pytest.mark.parametrize("frames", [{"name": "x_clip"}, {"name": "ila", "hidden": 4}], ids=["x_clip", "ila"])
def test_in_a_deeper_tower_frames_exchange_around_the_old_blocks_alone(frames: dict[str, Any], tmp_path: Path) -> None:
    words = train_wordpiece(["left effusion", "no effusion"] * 2, vocab_size=64, max_length=12)
    image = {**VIT, "image_size": 32, "options": {**VIT["options"], "patch_size": 8}}
    model = build_model({**DUAL, "vision": {**frames, "slice": image}}, tokenizer=words, seed=1)
    stacks = torch.rand(2, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    real = torch.tensor([[True, True, True], [True, True, False]])

    def seen(each: Any) -> torch.Tensor:
        with torch.no_grad():
            return each.eval().towers["stack"](stacks, parts=frozenset({"tokens"}), mask=real).tokens

    def stir() -> torch.Tensor:
        with torch.no_grad():
            for i, parameter in enumerate(model.parameters()):
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)), alpha=0.1)
        return seen(model)

    before = stir()
    operate(model, [{"name": "grow_depth", "kind": "stack", "after": [0, 1]}])
    assert torch.equal(seen(model), before)
    trained = stir()
    assert not torch.allclose(trained, before, atol=1e-3)
    save_bundle(tmp_path / "bundle", Bundle(model, words, preprocessing=[]))
    assert torch.equal(seen(load_bundle(tmp_path / "bundle").model), trained)


# the specification --------------------------------------------------------------------------------------------------


def test_a_bundle_rebuilds_the_changed_model_with_patches_on_top(tmp_path: Path) -> None:
    words = train_wordpiece(["no acute findings", "left effusion", "large heart"], vocab_size=64, max_length=12)
    model = build_model(DUAL, tokenizer=words, seed=1)
    done = [STRETCH, {"name": "grow_depth", "kind": "text", "after": [1]}]
    operate(model, done)
    apply_patches(model, [{"name": "lora", "kind": "text", "on": "linear[*qkv]", "rank": 2}])
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)), alpha=0.1)
    assert len(model.patches) == 3
    batch = pairs(["no acute findings left effusion large heart no effusion", "left", "no heart"])
    before = embeddings(model, batch)
    save_bundle(tmp_path / "bundle", Bundle(model=model, tokenizer=words, preprocessing=[]))
    back = load_bundle(tmp_path / "bundle")
    assert back.model.spec == model.spec
    assert back.model.spec["surgery"] == done
    assert all(torch.equal(rows, before[view]) for view, rows in embeddings(back.model, batch).items())
    assert back.tokenizer is not None
    assert back.tokenizer.max_length == 12  # its own; the tower's is longer
    save_bundle(tmp_path / "again", back)
    again = (tmp_path / "again" / "bundle.yaml").read_bytes()
    assert again == (tmp_path / "bundle" / "bundle.yaml").read_bytes()


def test_a_copy_is_operated_alone() -> None:
    model = dual()
    other = copy.deepcopy(model)
    operate(other, [STRETCH])
    assert model.towers["text"].words.max_length == 24
    assert other.towers["text"].words.max_length == 4 + 3 * 20
    assert "surgery" not in model.spec


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"phases\[1\].surgery\[0\]: .* keeps 23 positions and the text tower has 24"):
        operate(dual(), [{**STRETCH, "keep": 23}], where="phases[1].surgery")
    with pytest.raises(ConfigError, match=r"no models/surgery component named 'strech_positions': did you mean"):
        operate(dual(), [{"name": "strech_positions"}])
    images = build_model({"name": "vision", "vision": DUAL["vision"]}, tokenizer=None)
    with pytest.raises(ConfigError, match=r"needs a text tower with learned positions of this library: use the enc"):
        operate(images, [STRETCH])
    grow = {"name": "grow_depth", "kind": "text", "after": [0, 2]}
    with pytest.raises(ConfigError, match=r"after is \[0, 2\], and the text tower has the blocks 0 to 1: name some"):
        operate(dual(), [grow])
    with pytest.raises(ConfigError, match=r"grow_depth finds no tower 'txt': did you mean 'text'"):
        operate(dual(), [{**grow, "kind": "txt"}])
    with pytest.raises(ConfigError, match=r"needs pre-norm transformer blocks, which the image tower has not"):
        operate(dual(), [{**grow, "kind": "image"}])
    patched = dual(patches=[{"name": "lora", "kind": "text", "on": "linear[*qkv]", "rank": 2}])
    with pytest.raises(ConfigError, match=r"would change layers that patches stand at: change a model without any"):
        operate(patched, [{**grow, "after": [0]}])
    with pytest.raises(ConfigError, match=r"surgery: Linear has no towers: surgery needs a model of towers"):
        operate(torch.nn.Linear(1, 1), [STRETCH])

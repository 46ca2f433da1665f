"""Two towers as one: whose token stands where, on which grid, and what a map of them is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder
from medvlp.features.heat_map import heat_map
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.encoders.mof import MofEncoder
from medvlp.text.wordpiece import train_wordpiece
from tests.models.words import DUAL, VISION, VIT, dual, images

BOTH = frozenset({"tokens", "pooled"})
CONV = {**VISION, "image_size": 64}  # 2 x 2 cells of 16
OTHER = {**CONV, "pool": "max"}
VIT64 = {**VIT, "pool": "avg"}  # 4 x 4 patches of 16


def tower(**options: Any) -> MofEncoder:
    torch.manual_seed(0)
    return MofEncoder(**{"first": CONV, "second": OTHER, **options}).eval()


def tokens_of(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
    return encoder(pixels, parts=BOTH).part("tokens")


@torch.no_grad()
def test_even_tokens_are_the_first_towers_and_odd_ones_the_seconds() -> None:
    both, pixels = tower(), images(2, 64)
    rows = both(pixels, parts=BOTH)
    first, second = tokens_of(both.first, pixels), tokens_of(both.second, pixels)
    assert torch.equal(rows.part("tokens")[:, 0::2], first)
    assert torch.equal(rows.part("tokens")[:, 1::2], second)
    assert not torch.equal(first, second)  # each has first weights of its own
    assert rows.mask is not None
    assert rows.mask.shape == (2, 8)
    torch.testing.assert_close(rows.part("pooled"), torch.cat([first.mean(1), second.mean(1)], dim=1))


@torch.no_grad()
def test_two_tokens_of_a_cell_lie_in_its_two_halves() -> None:
    both, pixels = tower(), images(1, 64)
    rows = both(pixels, parts=BOTH)
    assert rows.grid == (2, 4)
    whole = both.first(pixels, parts=BOTH)
    assert whole.grid == (2, 2)
    cells = rows.part("tokens").unflatten(1, rows.grid)
    for row in range(2):
        for column in range(2):
            assert torch.equal(cells[0, row, 2 * column], whole.part("tokens")[0, 2 * row + column])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@torch.no_grad()
def test_additive_features_are_the_weighted_sum_on_the_first_towers_grid(share: float) -> None:
    both, pixels = tower(how="additive", share=share), images(2, 64)
    rows = both(pixels, parts=BOTH)
    mixed = share * tokens_of(both.first, pixels) + (1 - share) * tokens_of(both.second, pixels)
    torch.testing.assert_close(rows.part("tokens"), mixed)
    assert (rows.grid, both.width) == ((2, 2), 16)
    torch.testing.assert_close(rows.part("pooled"), mixed.mean(1))


@torch.no_grad()
def test_another_grid_is_interpolated_and_another_width_needs_adapters() -> None:
    with pytest.raises(ConfigError, match=r"width 16 and those of the second 24: set width"):
        tower(second={**VIT64, "options": {"embed_dim": 24, "depth": 1, "num_heads": 2}})
    both, pixels = tower(first=VIT64, width=12), images(1, 64)
    rows = both(pixels, parts=BOTH)
    assert (rows.grid, both.token_width, both.width) == ((4, 8), 12, 24)
    second = both.adapters[1](tokens_of(both.second, pixels))
    on = F.interpolate(second.transpose(1, 2).unflatten(2, (2, 2)), size=(4, 4), mode="bilinear", align_corners=False)
    torch.testing.assert_close(rows.part("tokens")[:, 1::2], on.flatten(2).transpose(1, 2))
    torch.testing.assert_close(rows.part("tokens")[:, 0::2], both.adapters[0](tokens_of(both.first, pixels)))


@torch.no_grad()
def test_maps_are_the_first_towers() -> None:
    both, pixels = tower(), images(1, 64)
    level = both(pixels, parts=frozenset({"level[1]", "tokens"})).part("level[1]")
    assert torch.equal(level, both.first(pixels, parts=frozenset({"level[1]"})).part("level[1]"))
    assert torch.equal(level, both(pixels, parts=frozenset({"level[1]"})).part("level[1]"))


@pytest.mark.parametrize("how", ["interleaved", "additive"])
def test_a_heat_map_sums_to_the_score(how: str) -> None:
    spec = {"name": "mof", "first": CONV, "second": VIT64, "how": how}
    model = dual({**DUAL, "vision": spec}).eval()
    pixels = images(1, 64)
    vector = F.normalize(torch.randn(8, generator=torch.Generator().manual_seed(0)), dim=0)
    found = heat_map(model, pixels[0], vector)
    assert found.values.shape == ((2, 4) if how == "interleaved" else (2, 2))
    assert float(found.values.sum()) == pytest.approx(found.score, abs=1e-5)


@pytest.mark.slow
def test_towers_start_as_those_of_bundles_and_are_released_without_them(tmp_path: Path) -> None:
    words = train_wordpiece(["left effusion", "no effusion"] * 2, vocab_size=64, max_length=12)
    given: Any = build_model({**DUAL, "vision": OTHER}, tokenizer=words, seed=5)
    save_bundle(tmp_path / "ssl", Bundle(given, words, preprocessing=[]))
    spec = {"name": "mof", "first": CONV, "second": OTHER, "weights": {"second": str(tmp_path / "ssl")}}
    model: Any = build_model({**DUAL, "vision": spec}, tokenizer=words).eval()
    mof = model.towers["image"]
    assert isinstance(mof, MofEncoder)
    own = given.towers["image"].state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in mof.second.state_dict().items())
    assert model.spec["vision"]["weights"] == {}
    save_bundle(tmp_path / "both", Bundle(model, words, preprocessing=[]))
    (tmp_path / "ssl").rename(tmp_path / "gone")
    again = load_bundle(tmp_path / "both").model
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    with pytest.raises(ConfigError, match=r"model.vision.weights.first: the image tower of .*gone is another one"):
        dual({**DUAL, "vision": {**spec, "first": VIT64, "weights": {"first": str(tmp_path / "gone")}}})
    shifted = {**spec, "second": {**OTHER, "mean": [0.4]}, "weights": {"second": str(tmp_path / "gone")}}
    with pytest.raises(ConfigError, match=r"gone is another one \(1 tensors differ, such as 'mean'\): give both the"):
        dual({**DUAL, "vision": shifted})


def test_both_towers_offer_their_linear_layers_to_patches() -> None:
    sites = tower(first=VIT64).sites()
    assert "linear[first.backbone.blocks.0.attn.qkv]" in sites

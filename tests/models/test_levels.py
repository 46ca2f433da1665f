"""Maps that encoders offer: timm's own, each of its published size, and nothing else changed by asking for them."""

from __future__ import annotations

import pytest
import torch

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys, parse_key
from medvlp.core.protocols import Level
from medvlp.models.encoders.inflated import InflatedEncoder
from medvlp.models.encoders.slices import SliceEncoder
from medvlp.models.encoders.timm import TimmEncoder
from medvlp.models.surgery import operate
from tests.models.words import VISION, VIT, dual, images, pairs

SMALL = {"channels": [8, 8, 16, 16], "stem_width": 8}
ARCHITECTURES = [
    "resnet18",
    "convnext_atto",
    "efficientnet_lite0",
    "swin_tiny_patch4_window7_224",
    "vit_tiny_patch16_224",
]
ARCHITECTURES += ["densenet121", "regnety_002"]


def names(count: int) -> frozenset[str]:
    return frozenset(f"level[{i}]" for i in range(count))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_levels_have_the_published_sizes_and_change_nothing_beside_them(architecture: str) -> None:
    tower = TimmEncoder(architecture=architecture, image_size=224).eval()
    levels, pixels, own = names(len(tower.levels)), images(1, 224), frozenset({"pooled", "tokens"})
    assert levels <= tower.offers
    with torch.no_grad():
        plain, beside, alone = (tower(pixels, parts=parts) for parts in (own, own | levels, levels))
    assert torch.equal(plain.pooled, beside.pooled)
    assert torch.equal(plain.tokens, beside.tokens)
    assert (alone.pooled, alone.tokens, plain.extra) == (None, None, {})
    for i, level in enumerate(tower.levels):
        rows, columns = (224 // s for s in level.stride)
        assert beside.extra[f"level[{i}]"].shape == (1, level.channels, rows, columns)
        assert torch.equal(beside.extra[f"level[{i}]"], alone.extra[f"level[{i}]"])
    strides = [level.stride for level in tower.levels]
    assert strides == sorted(strides)


def test_a_convolutional_level_is_the_output_of_timms_module() -> None:
    tower, pixels = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL).eval(), images(2, 64)
    kept = []
    for info in tower.backbone.feature_info:
        tower.backbone.get_submodule(info["module"]).register_forward_hook(lambda _m, _i, out: kept.append(out))
    rows = tower(pixels, parts=names(5))
    for i in range(5):
        torch.testing.assert_close(rows.extra[f"level[{i}]"], kept[i])


def test_coarser_stages_are_not_run_for_a_fine_level() -> None:
    tower = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL).eval()
    tower.backbone.layer4.register_forward_hook(lambda *_: pytest.fail("layer4 ran"))
    assert set(tower(images(1, 64), parts=frozenset({"level[1]"})).extra) == {"level[1]"}


def test_levels_of_a_vision_transformer_are_its_tokens_after_each_quarter_laid_out_on_the_grid() -> None:
    options = {"embed_dim": 16, "depth": 8, "num_heads": 2}
    tower = TimmEncoder(architecture="vit_tiny_patch16_224", image_size=64, options=options).eval()
    rows = tower(images(2, 64), parts=names(4) | {"layers"})
    assert tower.levels == (Level(16, (16, 16)),) * 4
    for i, block in enumerate((1, 3, 5, 7)):
        torch.testing.assert_close(rows.extra[f"level[{i}]"].flatten(2).transpose(1, 2), rows.layers[:, block])


@torch.no_grad()
def test_levels_are_the_maps_that_they_were_in_a_tower_that_grew_deeper() -> None:
    model = dual(vision={**VIT, "options": {"embed_dim": 16, "depth": 8, "num_heads": 2}})
    tower, pixels = model.towers["image"].eval(), images(2, 64)
    before = tower(pixels, parts=names(4)).extra
    operate(model, [{"name": "grow_depth", "kind": "image", "after": [0, 3, 7]}])
    assert len(tower.backbone.blocks) == 11
    after = tower(pixels, parts=names(4)).extra
    assert all(torch.equal(after[name], level) for name, level in before.items())


def test_squares_of_pixels_as_channels_count_in_the_stride() -> None:
    tower = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL, unshuffle=2)
    assert [level.stride[0] for level in tower.levels] == [4, 8, 16, 32, 64]
    shape = tower(images(1, 64), parts=frozenset({"level[0]"})).extra["level[0]"].shape
    assert shape == (1, tower.levels[0].channels, 16, 16)


def test_a_level_is_a_part_that_a_key_asks_for() -> None:
    assert str(parse_key("ema:image.local/level[0]")) == "ema:image.local/level[0]"
    model, batch = dual(), pairs()
    rows = model(batch, Plan.of(keys("image/level[4]", "image/embedding")))["image"]
    assert rows.parts() == ("level[4]", "raw", "embedding")
    torch.testing.assert_close(
        rows.part("level[4]").mean((2, 3)),
        model.towers["image"](batch["image"].values, parts=frozenset({"pooled"})).pooled,
    )
    with pytest.raises(ConfigError, match=r"Need 'image/level\[5\]' cannot be computed: did you mean 'level"):
        model.check(Plan.of(keys("image/level[5]")))


def test_maps_are_refused_where_a_patch_takes_tokens_away() -> None:
    model = dual({**dual().spec, "vision": VIT}, patches=[{"name": "token_dropout", "rate": 0.5, "mode": "remove"}])
    with pytest.raises(
        ConfigError, match="takes tokens out of the image tower 'vit_tiny_patch16_224', and maps need all"
    ):
        model.train()(pairs(size=64), Plan.of(keys("image/level[0]")))


def stack() -> tuple[torch.Tensor, torch.Tensor]:
    real = torch.tensor([[True, True, True], [True, True, False]])
    return torch.stack([images(3, 32, seed=1), images(3, 32, seed=2)]), real


def test_levels_of_slices_are_those_of_each_slice_with_zeros_where_padded() -> None:
    tower, (pixels, real) = SliceEncoder(slice=VISION).eval(), stack()
    assert [level.stride for level in tower.levels] == [(1, s, s) for s in (2, 4, 8, 16, 32)]
    rows = tower(pixels, parts=names(5) | {"pooled", "tokens"}, mask=real)
    for i, level in enumerate(tower.levels):
        found = rows.extra[f"level[{i}]"]
        assert found.shape == (2, level.channels, 3, 32 // level.stride[1], 32 // level.stride[2])
        assert not found[1, :, 2].any()
        for row, s in ((0, 0), (0, 2), (1, 1)):
            alone = tower.slice(pixels[row, s][None], parts=names(5)).extra[f"level[{i}]"][0]
            torch.testing.assert_close(found[row, :, s], alone)
    plain = tower(pixels, parts=frozenset({"pooled", "tokens"}), mask=real)
    assert torch.equal(plain.tokens, rows.tokens)
    assert torch.equal(plain.pooled, rows.pooled)


def test_levels_of_an_inflated_tower_see_the_slices_beside_them_and_no_padding() -> None:
    tower, (pixels, real) = InflatedEncoder(slice=VISION).eval(), stack()
    rows = tower(pixels, parts=names(5), mask=real)
    alone = tower(pixels[1:, :2], parts=names(5))
    for i in range(5):
        torch.testing.assert_close(rows.extra[f"level[{i}]"][1:, :, :2], alone.extra[f"level[{i}]"])
    moved = pixels.clone()
    moved[0, 1] = 0
    assert not torch.allclose(
        tower(moved, parts=names(1), mask=real).extra["level[0]"][0, :, 0], rows.extra["level[0]"][0, :, 0]
    )


def test_levels_are_refused_where_the_slices_are_features_already() -> None:
    tower = SliceEncoder(slice=VISION)
    with pytest.raises(ConfigError, match="was given features of slices, which have no maps"):
        tower(torch.rand(1, 3, tower.width, 1, 1), parts=frozenset({"level[0]"}))

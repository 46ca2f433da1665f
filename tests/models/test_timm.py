from __future__ import annotations

import pytest
import timm
import torch

from medvlp.core.errors import ConfigError, UserError
from medvlp.models._draws import seeded
from medvlp.models.encoders.timm import TimmEncoder
from tests.models.words import images

SMALL = {"channels": [8, 8, 16, 16], "stem_width": 8}
VIT = {"embed_dim": 16, "depth": 2, "num_heads": 2}
ALL = frozenset({"pooled", "tokens", "mask", "layers", "attention"})


def vit(**changes: object) -> TimmEncoder:
    return TimmEncoder(architecture="vit_tiny_patch16_224", image_size=64, options=VIT, **changes)


def test_tokens_of_a_convolutional_backbone_are_the_cells_of_its_last_map_row_by_row() -> None:
    tower = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL).eval()
    pixels = images(2, 64)
    rows = tower(pixels, parts=ALL & tower.offers)
    features = tower.backbone.forward_features((pixels - 0.5) / 0.25)
    assert rows.grid == (2, 2)
    torch.testing.assert_close(rows.tokens[:, 1], features[:, :, 0, 1])
    torch.testing.assert_close(rows.pooled, features.mean(dim=(2, 3)))
    assert rows.mask.all()


def test_a_cropped_view_of_another_size_keeps_a_true_grid() -> None:
    tower = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL)
    rows = tower(torch.rand(1, 1, 96, 32), parts=frozenset({"tokens"}))
    assert rows.grid == (3, 1)


def test_tokens_layers_and_attention_of_a_vision_transformer_are_those_of_its_patches() -> None:
    tower, pixels = vit().eval(), images(2, 64)
    rows = tower(pixels, parts=ALL)
    prepared = (pixels - 0.5) / 0.25
    final, states = tower.backbone.forward_intermediates(prepared, output_fmt="NLC")
    assert rows.grid == (4, 4)
    torch.testing.assert_close(rows.tokens, final[:, 1:])
    torch.testing.assert_close(rows.pooled, final[:, 0])
    torch.testing.assert_close(rows.layers, torch.stack(states, dim=1))
    block = tower.backbone.blocks[0]
    tokens = block.norm1(tower.backbone.norm_pre(tower.backbone._pos_embed(tower.backbone.patch_embed(prepared))))
    q, k, _ = block.attn.qkv(tokens).reshape(2, 17, 3, 2, 8).permute(2, 0, 3, 1, 4)
    by_hand = (q @ k.transpose(-1, -2) / 8**0.5).softmax(dim=-1).mean(dim=1)
    torch.testing.assert_close(rows.attention[:, 0], by_hand[:, :, 1:])


def test_looking_at_attention_changes_nothing_else() -> None:
    tower, pixels = vit().eval(), images(2, 64)
    before = tower(pixels, parts=frozenset({"pooled"})).pooled
    watched = tower(pixels, parts=ALL).pooled
    torch.testing.assert_close(watched, before)
    assert torch.equal(tower(pixels, parts=frozenset({"pooled"})).pooled, before)


def test_group_norm_makes_rows_independent_and_keeps_the_weights() -> None:
    pixels = images(4, 64)
    with seeded(0, "tower"):
        plain = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL)
    with seeded(0, "tower"):
        grouped = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL, norm="group")
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in grouped.modules())
    own = dict(plain.named_parameters())
    assert all(torch.equal(value, own[name]) for name, value in grouped.named_parameters())
    parts = frozenset({"pooled"})
    torch.testing.assert_close(grouped(pixels, parts=parts).pooled[:1], grouped(pixels[:1], parts=parts).pooled)
    assert not torch.allclose(plain(pixels, parts=parts).pooled[:1], plain(pixels[:1], parts=parts).pooled)


def test_fused_batch_norm_keeps_its_activation_when_it_is_replaced() -> None:
    tower = TimmEncoder(architecture="mobilenetv3_small_050", image_size=64, norm="group")
    assert any(isinstance(module, torch.nn.Hardswish) for module in tower.modules())
    pixels = images(2, 64)
    pooled = tower(pixels, parts=frozenset({"pooled"})).pooled
    torch.testing.assert_close(pooled[:1], tower(pixels[:1], parts=frozenset({"pooled"})).pooled)


def test_frozen_batch_norm_ignores_the_batch_while_training() -> None:
    tower = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL, norm="frozen").train()
    pixels, parts = images(4, 64), frozenset({"pooled"})
    torch.testing.assert_close(tower(pixels, parts=parts).pooled[:1], tower(pixels[:1], parts=parts).pooled)


def test_memory_order_changes_speed_only() -> None:
    pixels, parts = images(2, 64), frozenset({"pooled"})
    with seeded(0, "tower"):
        last = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL).eval()
    with seeded(0, "tower"):
        first = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL, channels_last=False).eval()
    assert last.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last(pixels, parts=parts).pooled, first(pixels, parts=parts).pooled)
    grouped = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL, norm="group")
    assert grouped.backbone.layer1[0].conv1.weight.is_contiguous()


def test_measuring_a_backbone_leaves_batch_statistics_alone() -> None:
    tower = TimmEncoder(architecture="resnet10t", image_size=64, options=SMALL)
    assert tower.backbone.training
    assert all(int(v) == 0 for n, v in tower.state_dict().items() if n.endswith("num_batches_tracked"))


@pytest.mark.parametrize(
    ("architecture", "size", "width", "token_width", "grid"),
    [
        ("mobilenetv3_small_050", 64, 1024, 288, (2, 2)),
        ("convnext_atto", 64, 320, 320, (2, 2)),
        ("swin_tiny_patch4_window7_224", 64, 768, 768, (2, 2)),
        ("mixer_s16_224", 64, 512, 512, (4, 4)),
    ],
)
def test_widths_and_grids_of_other_families(
    architecture: str, size: int, width: int, token_width: int, grid: tuple[int, int]
) -> None:
    tower = TimmEncoder(architecture=architecture, image_size=size)
    rows = tower(images(1, size), parts=frozenset({"pooled", "tokens"}))
    assert (tower.width, tower.token_width, rows.grid) == (width, token_width, grid)
    assert rows.pooled.shape == (1, width)
    assert rows.tokens.shape == (1, grid[0] * grid[1], token_width)


NARROW = {"embed_dim": 16, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize(
    ("architecture", "options", "qkv"),
    [
        ("vit_tiny_patch16_224", NARROW, True),
        ("beit_base_patch16_224", NARROW, False),
        ("eva_giant_patch14_224", {**NARROW, "patch_size": 16}, False),
        ("swinv2_tiny_window8_256", {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]}, False),
    ],
)
def test_what_stands_at_a_published_linear_layer_is_asked(
    architecture: str, options: dict[str, object], qkv: bool
) -> None:
    """Of those with q_bias timm multiplies the weight of qkv without calling the layer."""
    tower = TimmEncoder(architecture=architecture, image_size=64, options=options)
    asked: set[str] = set()
    sites = {name: site for name, site in tower.sites().items() if name.startswith("linear[")}
    for name, site in sites.items():
        site.module.register_forward_hook(lambda *_, name=name: asked.add(name))
    tower(images(1, 64), parts=frozenset({"pooled"}))
    assert asked == set(sites)
    assert any(name.endswith("qkv]") for name in sites) == qkv
    assert any(name.endswith("fc1]") for name in sites)


def test_a_caller_whose_numbers_are_double_gets_the_same_features() -> None:
    usual, pixels = vit().eval(), images(2, 64)
    torch.set_default_dtype(torch.float64)
    try:
        double = vit().eval()
    finally:
        torch.set_default_dtype(torch.float32)
    double.load_state_dict(usual.state_dict())
    expected, got = (tower(pixels, parts=frozenset({"pooled"})).pooled for tower in (usual, double))
    torch.testing.assert_close(got.float(), expected, rtol=1e-5, atol=1e-6)


def test_a_blank_row_is_one_black_image_of_the_towers_size() -> None:
    blank = vit(channels=3).blank(torch.device("cpu"))
    assert blank.shape == (1, 3, 64, 64)
    assert not blank.any()


def test_what_a_bundle_rebuilds_it_from_names_every_number() -> None:
    assert vit(channels=3).released() == {"pretrained": False, "mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"architecture": "resnet18", "options": {"chanels": [1]}}, "has no option 'chanels': did you mean 'channels'"),
        (
            {"architecture": "resnet18", "options": {"checkpoint_path": "x.pth"}},
            "may not set 'checkpoint_path': use init_from",
        ),
        ({"architecture": "resnet18", "options": {"in_chans": 2}}, "may not set 'in_chans': use channels instead"),
        ({"architecture": "resnet18", "options": {"layers": [1]}}, "timm cannot build 'resnet18' with options"),
        ({"architecture": "resnet18", "pool": "sum"}, r"Invalid pool type: sum"),
        ({"architecture": "hf-hub:some/model"}, "timm has no architecture 'hf-hub:some/model'"),
        ({"architecture": "local-dir:/tmp"}, "timm has no architecture 'local-dir:/tmp'"),
        ({"architecture": "resnet18", "mean": [0.1, 0.2]}, r"mean of the image tower has 2 numbers: give one"),
    ],
)
def test_what_timm_does_not_know_is_refused_with_a_sentence(options: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TimmEncoder(image_size=32, **options)


def test_images_of_another_shape_are_refused_with_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"takes images of shape \(R, 1, H, W\) and was given \(1, 3, 64, 64\)"):
        vit()(torch.zeros(1, 3, 64, 64), parts=frozenset({"pooled"}))
    with pytest.raises(ConfigError, match="is built for 64 x 64 pixels and was given 32 x 32: set image_size"):
        vit()(torch.zeros(1, 1, 32, 32), parts=frozenset({"pooled"}))
    with pytest.raises(ConfigError, match="An image tower was given texts"):
        vit()(["words"], parts=frozenset({"pooled"}))


def test_pretrained_weights_that_cannot_be_had_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise FileNotFoundError("no network")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        UserError, match=r"weights of timm's 'resnet18' .* set pretrained: false, or run once with a network"
    ):
        TimmEncoder(architecture="resnet18", pretrained=True)


def test_columns_keep_what_lies_left_apart_from_what_lies_right() -> None:
    torch.manual_seed(0)
    tower = TimmEncoder(architecture="resnet10t", image_size=64, channels=1, columns=2).eval()
    whole = TimmEncoder(architecture="resnet10t", image_size=64, channels=1).eval()
    whole.load_state_dict(tower.state_dict())
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        halves = tower(image, parts=frozenset({"pooled"})).pooled.unflatten(1, (2, -1))
        one = whole(image, parts=frozenset({"pooled"})).pooled
    assert tower.width == 2 * whole.width
    assert not torch.allclose(halves[:, 0], halves[:, 1])
    torch.testing.assert_close(halves.mean(dim=1), one)  # equal halves: their means average to the mean of the map


def test_columns_of_a_map_one_cell_wide_are_that_cell() -> None:
    tower = TimmEncoder(architecture="resnet10t", image_size=32, channels=1, columns=2).eval()
    left, right = tower(torch.rand(2, 1, 32, 32), parts=frozenset({"pooled"})).pooled.chunk(2, dim=1)
    assert torch.equal(left, right)


def test_columns_without_a_map_to_cut_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs the map of a convolutional backbone"):
        TimmEncoder(architecture="vit_tiny_patch16_224", image_size=64, channels=1, columns=2)


def test_squares_of_pixels_as_channels_cost_half_the_side_and_lose_no_pixel() -> None:
    options = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "stem_width": 8}
    tower = TimmEncoder(architecture="resnet10t", image_size=64, unshuffle=2, mean=[0.0], std=[1.0], options=options)
    tower.eval()
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    squares = torch.stack([images[:, 0, i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=1)
    rows = tower(images, parts=frozenset({"pooled", "tokens"}))
    expected = tower.backbone.forward_features(squares)
    torch.testing.assert_close(rows.tokens, expected.flatten(2).transpose(1, 2))
    half = TimmEncoder(architecture="resnet10t", image_size=32, options=options)
    assert rows.grid == half(images[..., ::2, ::2], parts=frozenset({"tokens"})).grid == (1, 1)
    # Two of the squares' rows and columns: a backbone that is given places gets one for each square.
    placed = TimmEncoder(architecture="resnet10t", image_size=64, unshuffle=2, coordinates=True, options=options)
    assert placed.backbone.conv1[0].in_channels == 6
    changed = images.clone()
    changed[0, 0, 33, 17] += 0.5
    assert not torch.equal(tower(changed, parts=frozenset({"pooled"})).pooled[0], rows.pooled[0])


def test_squares_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="image_size 63 is no multiple of unshuffle 2"):
        TimmEncoder(architecture="resnet10t", image_size=63, unshuffle=2)
    with pytest.raises(ConfigError, match="no pretrained weights for unshuffle"):
        TimmEncoder(architecture="resnet10t", pretrained=True, unshuffle=2)
    tower = TimmEncoder(architecture="resnet10t", image_size=64, unshuffle=2)
    with pytest.raises(ConfigError, match="sides that are multiples of 2 and was given 64 x 63"):
        tower(torch.rand(1, 1, 64, 63), parts=frozenset({"pooled"}))

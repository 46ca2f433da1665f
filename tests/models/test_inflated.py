"""The inflated tower: equal slices give the 2D features, kernels are 3D ones, padding is nothing, weights are of 2D."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.features.slice_features import slice_tower
from medvlp.models.build import build_model
from medvlp.models.encoders.inflated import InflatedEncoder, _inflate, _Inflated, _neighbours, inflate_weights
from medvlp.models.encoders.slices import SliceEncoder
from medvlp.text.wordpiece import train_wordpiece
from tests.models.words import TEXT, VISION

PARTS = frozenset({"pooled", "tokens", "position"})
RESNET: dict[str, Any] = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 3}
RESNET |= {"options": {"channels": [8, 8, 16, 16], "stem_width": 8}}


def pair(spec: dict[str, Any], *, depth: Any = 3, seed: int = 0) -> tuple[SliceEncoder, InflatedEncoder]:
    """A 2D tower that has left its start, over slices and inflated."""
    flat = SliceEncoder(slice=spec, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in flat.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=generator) * 0.3
            tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    solid = InflatedEncoder(slice=spec, depth=depth, seed=seed)
    solid.load_state_dict(inflate_weights(flat.state_dict(), like=solid.state_dict()))
    return flat.eval(), solid.eval()


@pytest.mark.parametrize(("architecture", "depth"), [("resnet10t", 7), ("seresnet18", 3), ("convnext_atto", 3)])
def test_equal_slices_are_what_the_2d_tower_makes_of_one(architecture: str, depth: int) -> None:
    """Carreira and Zisserman 2017, section 2.4, here at both ends of the volume as well."""
    spec = {"name": "timm", "architecture": architecture, "image_size": 32}
    flat, solid = SliceEncoder(slice=spec).eval(), InflatedEncoder(slice=spec, depth=depth).eval()
    picture = torch.rand(1, 1, 1, 32, 32)
    with torch.no_grad():
        want = flat(picture, parts=PARTS).pooled
        for slices in (1, 2, 5):
            rows = solid(picture.expand(1, slices, 1, 32, 32), parts=PARTS)
            torch.testing.assert_close(rows.pooled, want, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(rows.tokens, want[:, None].expand(1, slices, -1), atol=1e-5, rtol=1e-4)


def test_in_training_too_batch_statistics_of_equal_slices_are_those_of_the_pictures() -> None:
    flat, solid = pair(RESNET)
    flat.train(), solid.train()
    pictures = torch.rand(3, 1, 3, 32, 32)
    want = flat(pictures, parts=PARTS).pooled
    torch.testing.assert_close(solid(pictures.expand(3, 4, 3, 32, 32), parts=PARTS).pooled, want, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("depth", [3, 5])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_kernel_is_a_3d_convolution_scaled_by_the_share_of_taps_inside(depth: int, groups: int, stride: int) -> None:
    flat = nn.Conv2d(4, 8, 3, stride=stride, padding=1, groups=groups)
    solid = _Inflated(flat, depth)
    solid.weight.data = torch.randn(solid.weight.shape)
    volume = torch.randn(1, 6, 4, 8, 8)
    with _neighbours(torch.ones(1, 6, dtype=torch.bool)):
        found = solid(volume[0])
    place = (depth // 2, 1, 1)
    plain = F.conv3d(volume.transpose(1, 2), solid.weight, None, (1, stride, stride), place, 1, groups)
    taps = F.conv1d(torch.ones(1, 1, 6), torch.ones(1, 1, depth), padding=depth // 2)[0, 0]
    want = plain[0].transpose(0, 1) * (depth / taps)[:, None, None, None] + solid.bias[:, None, None]
    torch.testing.assert_close(found, want, atol=1e-4, rtol=1e-4)


@settings(deadline=None, max_examples=12)
@given(depths=st.lists(st.integers(1, 5), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_padding_and_the_other_volumes_of_a_batch_change_nothing(depths: list[int], seed: int) -> None:
    _, solid = pair(RESNET, seed=seed)
    for parameter in solid.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed)
    most = max(depths) + 1
    stacks = 50 * torch.randn(len(depths), most, 3, 32, 32, generator=generator)  # junk where padded
    mask = torch.arange(most)[None] < torch.tensor(depths)[:, None]
    place = torch.randn(len(depths), most, 3, generator=generator)
    with torch.no_grad():
        together = solid(stacks, parts=PARTS, mask=mask, position=place)
        assert torch.equal(together.part("position"), place)
        for row, depth in enumerate(depths):
            alone = solid(stacks[row : row + 1, :depth], parts=PARTS)
            torch.testing.assert_close(together.part("pooled")[row], alone.part("pooled")[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(
                together.part("tokens")[row, :depth], alone.part("tokens")[0], atol=1e-4, rtol=1e-4
            )
            assert together.part("tokens")[row, depth:].abs().sum() == 0


def test_a_slice_sees_its_neighbours_and_in_2d_it_does_not() -> None:
    flat, solid = pair(RESNET)
    stack = torch.rand(1, 5, 3, 32, 32)
    other = stack.clone()
    other[:, 2] = torch.rand(1, 3, 32, 32)
    changed: list[Tensor] = []
    with torch.no_grad():
        for tower in (flat, solid):
            apart = tower(stack, parts=PARTS).part("tokens") - tower(other, parts=PARTS).part("tokens")
            changed.append(apart.abs().amax(-1)[0] > 1e-4)
    assert changed[0].tolist() == [False, False, True, False, False]
    assert changed[1][1:4].all()


def test_2d_weights_come_in_whole_and_3d_ones_stay() -> None:
    conv = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 1))
    flat = {name: tensor.clone() for name, tensor in conv.state_dict().items()}
    assert _inflate(conv, 5, where="here") == 1
    there = conv.state_dict()
    made = inflate_weights(flat, like=there)
    assert made["0.weight"].shape == (1, 1, 5, 3, 3)
    torch.testing.assert_close(made["0.weight"].sum(2), flat["0.weight"])
    assert torch.equal(made["1.weight"], flat["1.weight"])
    assert torch.equal(inflate_weights(there, like=there)["0.weight"], there["0.weight"])


def test_what_cannot_be_inflated_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"'vit_tiny_patch16_224' is a transformer.*choose a convolutional"):
        InflatedEncoder(slice={"name": "timm", "architecture": "vit_tiny_patch16_224", "image_size": 32})
    with pytest.raises(ConfigError, match=r"model\.vision\.slice: convolutions of the kind \w+ cannot be inflated"):
        InflatedEncoder(slice={"name": "timm", "architecture": "resnetv2_50x1_bit", "image_size": 32})
    tower = InflatedEncoder(slice=RESNET)
    with pytest.raises(ConfigError, match="features that were made of each slice alone"):
        tower(torch.rand(1, 2, tower.width, 1, 1), parts=PARTS)


def test_its_slices_have_no_features_of_their_own() -> None:
    words = train_wordpiece(["clear lungs"] * 3, vocab_size=64, max_length=16)
    spec = {"name": "dual", "text": TEXT, "embed_dim": 8}
    assert slice_tower(build_model({**spec, "vision": {"name": "slices", "slice": VISION}}, tokenizer=words))
    solid = build_model({**spec, "vision": {"name": "inflated", "slice": VISION}}, tokenizer=words)
    with pytest.raises(ConfigError, match="a slice has no features of its own: embed with --out"):
        slice_tower(solid)

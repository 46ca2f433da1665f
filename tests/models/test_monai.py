"""MONAI's networks by name: their encoding halves as they are, sizes as published, and what they cannot take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, UserError
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch, Column
from medvlp.models.build import build_model
from medvlp.models.encoders.monai import MonaiEncoder
from tests.models.words import TEXT, HashWords

ARCHITECTURES = ["unet", "segresnet", "swin_unetr"]


def volumes(rows: int = 1, *size: int) -> Tensor:
    return torch.rand(rows, 1, *(size or (32, 32, 48)), generator=torch.Generator().manual_seed(1))


def names(tower: MonaiEncoder) -> frozenset[str]:
    return frozenset(f"level[{i}]" for i in range(len(tower.levels)))


def whole(architecture: str, tower: MonaiEncoder) -> tuple[Any, list[tuple[Any, Any]]]:
    """MONAI's whole network, and its encoding modules beside ours."""
    if architecture == "unet":
        from monai.networks.nets.basic_unet import BasicUNet

        net: Any = BasicUNet(spatial_dims=3, features=(32, 32, 64, 128, 256, 32))
        theirs: list[Any] = [net.conv_0, net.down_1, net.down_2, net.down_3, net.down_4]
    elif architecture == "segresnet":
        from monai.networks.nets.segresnet import SegResNet

        net = SegResNet()
        theirs = [torch.nn.Sequential(net.convInit, net.down_layers[0]), *net.down_layers[1:]]
    else:
        from monai.networks.nets.swin_unetr import SwinUNETR

        net = SwinUNETR(in_channels=1, out_channels=1, feature_size=24)
        theirs = [net.swinViT.patch_embed, *(getattr(net.swinViT, f"layers{i}")[0] for i in range(1, 5))]
    return net, list(zip(theirs, tower.stages, strict=True))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_levels_are_what_monais_own_network_hands_to_its_decoder(architecture: Any) -> None:
    tower = MonaiEncoder(architecture=architecture, kind="volume", mean=0.0, std=1.0).eval()
    net, modules = whole(architecture, tower)
    for own, ours in modules:
        ours.load_state_dict(own.state_dict())
    net.eval()
    pixels, seen = volumes(), []
    if architecture == "segresnet":
        seen = net.encode(pixels)[1]
    elif architecture == "swin_unetr":
        seen = net.swinViT(pixels, True)
    else:
        hooks = [own.register_forward_hook(lambda _m, _i, out: seen.append(out)) for own, _ in modules]
        net(pixels)
        assert len(hooks) == 5
    rows = tower(pixels, parts=names(tower))
    for i, theirs in enumerate(seen):
        torch.testing.assert_close(rows.extra[f"level[{i}]"], theirs)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_levels_tokens_and_grid_have_the_published_sizes_and_rows_do_not_see_each_other(architecture: Any) -> None:
    tower = MonaiEncoder(architecture=architecture, kind="volume").eval()
    pixels = volumes(2, 32, 32, 64)
    rows = tower(pixels, parts=names(tower) | {"tokens", "pooled", "mask"})
    for i, level in enumerate(tower.levels):
        size = tuple(n // s for n, s in zip((32, 32, 64), level.stride, strict=True))
        assert rows.extra[f"level[{i}]"].shape == (2, level.channels, *size)
    last = rows.extra[f"level[{len(tower.levels) - 1}]"]
    assert rows.grid == tuple(last.shape[2:])
    torch.testing.assert_close(rows.tokens.transpose(1, 2).unflatten(2, rows.grid), last)
    torch.testing.assert_close(rows.pooled, last.mean((2, 3, 4)))
    alone = tower(pixels[1:], parts=frozenset({"pooled"}))
    torch.testing.assert_close(rows.pooled[1:], alone.pooled, rtol=1e-4, atol=1e-5)


def test_a_stack_is_its_slices_as_a_volume() -> None:
    pixels = volumes()
    towers = [MonaiEncoder(architecture="segresnet", kind=kind).eval() for kind in ("volume", "stack")]
    towers[1].load_state_dict(towers[0].state_dict())
    solid, stack = towers[0](pixels, parts=names(towers[0])), towers[1](pixels.transpose(1, 2), parts=names(towers[1]))
    assert all(torch.equal(solid.extra[name], stack.extra[name]) for name in solid.extra)


def test_deeper_stages_are_not_run_for_a_fine_level() -> None:
    tower = MonaiEncoder(architecture="segresnet", kind="volume")
    tower.stages[2].register_forward_hook(lambda *_: pytest.fail("the third stage ran"))
    assert set(tower(volumes(), parts=frozenset({"level[1]"})).extra) == {"level[1]"}


@pytest.mark.parametrize("kind", ["stack", "volume"])
def test_a_dual_model_embeds_volumes_and_a_batch_without_one_is_one_masked_row(kind: str) -> None:
    vision = {"name": "monai", "architecture": "segresnet", "kind": kind}
    spec = {"name": "dual", "vision": vision, "text": TEXT, "embed_dim": 8}
    model = build_model(spec, tokenizer=HashWords())
    assert model.vision_kind == kind
    pixels = volumes(2) if kind == "volume" else volumes(2).transpose(1, 2)
    plan = Plan.of(keys(f"{kind}/embedding", "text/embedding"))
    columns = {kind: Column(pixels, torch.arange(2)), "text": Column(("a", "b"), torch.arange(2))}
    rows = model(Batch(("a", "b"), torch.arange(2), columns), plan)
    assert rows[kind].part("embedding").shape == (2, 8)
    lacking = model(Batch(("a", "b"), torch.arange(2), {"text": columns["text"]}), plan)
    assert lacking[kind].owner.tolist() == [-1]


def test_what_it_cannot_take_is_refused() -> None:
    tower = MonaiEncoder(kind="stack")
    real = torch.tensor([[True] * 32, [True] * 31 + [False]])
    with pytest.raises(ConfigError, match="its stacks differ in depth: let the view `sample_slices` take one number"):
        tower(volumes(2).transpose(1, 2), parts=frozenset({"pooled"}), mask=real)
    with pytest.raises(ConfigError, match=r"takes \(R, S, C, H, W\) and was given \(1, 1, 32, 32, 48\): set kind and"):
        tower(volumes(), parts=frozenset({"pooled"}))
    with pytest.raises(ConfigError, match="was given volumes of 8 x 32 x 32 voxels, and takes at least 16 along each"):
        MonaiEncoder(kind="volume")(volumes(1, 8, 32, 32), parts=frozenset({"pooled"}))
    with pytest.raises(ConfigError, match="width 12 of MONAI's 'segresnet' is no multiple of 8"):
        MonaiEncoder(architecture="segresnet", width=12)


def test_swin_unetr_says_which_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medvlp.models.encoders.monai.find_spec", lambda name: None)
    with pytest.raises(UserError, match="MONAI's SwinUNETR needs the package einops: pip install einops, or choose"):
        MonaiEncoder(architecture="swin_unetr")

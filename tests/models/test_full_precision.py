"""What computes in float32 under autocast: kernels over two slices (their gradients in bfloat16 hold what the memory
held), and narrow transformers on a processor (kernels for each new length take longer than the products)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medvlp.core.protocols import Level
from medvlp.models.encoders._blocks import Trunk, TrunkOutput
from medvlp.models.encoders.i3_resnet import I3ResNet
from medvlp.models.encoders.ila import Ila
from medvlp.models.encoders.monai import MonaiEncoder
from medvlp.models.heads._dense import Pyramid, Solid
from tests.models.words import VIT

LAST, POOLED = frozenset({"level[4]"}), frozenset({"pooled"})


def filled_memory() -> None:
    """Leave NaN where the next tensors are put."""
    held = [torch.full((1 << size,), float("nan")) for size in range(8, 22) for _ in range(10)]
    del held


def gradients(module: nn.Module, values: Tensor, *, half: bool) -> list[Tensor]:
    module.zero_grad()
    filled_memory()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        if isinstance(module, MonaiEncoder):
            made = module(values, parts=LAST).extra["level[4]"]
        elif isinstance(module, (I3ResNet, Ila)):
            made = module(values, parts=POOLED).pooled
        else:
            made = module([values] if isinstance(module, Pyramid) else values, None)
    filled_memory()
    made.float().square().sum().backward()
    return [each.grad.clone() for each in module.parameters() if each.grad is not None]


def test_a_join_over_two_slices_has_the_gradients_of_float32() -> None:
    join, values = Solid(3, 8, 8), torch.rand(2, 8, 2, 4, 4)
    for exact, found in zip(gradients(join, values, half=False), gradients(join, values, half=True), strict=True):
        assert torch.equal(exact, found)


def aligning() -> Ila:
    tower = Ila(slice=VIT, hidden=32, spread=0.0)
    for each in tower.alignments:
        nn.init.normal_(each.interactive.weight, std=0.1)
    return tower


SMALL = {
    "pyramid": (lambda: Pyramid((Level(16, (2, 2, 2)),), 32), (2, 16, 2, 6, 6)),
    "i3_resnet": (lambda: I3ResNet(layers=[1, 1, 1, 2], width=16), (2, 32, 1, 64, 64)),
    "ila": (aligning, (1, 2, 1, 64, 64)),
}


@pytest.mark.parametrize("name", SMALL)
def test_kernels_over_two_slices_have_gradients_near_those_of_float32(name: str) -> None:
    make, shape = SMALL[name]
    torch.manual_seed(0)
    module, values = make().eval(), torch.rand(shape)
    for exact, found in zip(gradients(module, values, half=False), gradients(module, values, half=True), strict=True):
        assert (exact - found).norm() <= 0.5 * exact.norm() + 1e-3


@pytest.mark.parametrize("slices", [32, 64])
def test_gradients_of_a_tower_are_finite_at_its_coarsest_map(slices: int) -> None:
    tower = MonaiEncoder(architecture="unet", kind="volume", width=4)
    assert tower.levels[-1] == Level(tower.levels[-1].channels, (16, 16, 16))
    found = gradients(tower, torch.rand(1, 1, slices, 32, 32), half=True)
    assert all(bool(torch.isfinite(each).all()) for each in found)


@pytest.mark.parametrize(("width", "narrow"), [(128, True), (256, False)])
def test_only_a_narrow_trunk_is_exact_under_autocast(width: int, narrow: bool) -> None:
    trunk, texts = Trunk(width=width, layers=1, heads=4), torch.rand(2, 7, width)

    def found(values: Tensor, *, half: bool) -> TrunkOutput:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            return trunk(values, None, layers=True, attention=True)

    for exact, made in zip(
        vars(found(texts, half=False)).values(), vars(found(texts, half=True)).values(), strict=True
    ):
        assert torch.equal(exact, made) == narrow
    # What a layer before it left in half precision is no obstacle.
    half = texts.bfloat16()
    assert torch.equal(found(half, half=True).tokens, found(half.float(), half=False).tokens) == narrow

"""What computes in float32 under autocast: kernels over two slices (their gradients in bfloat16 hold what the memory
held), and narrow transformers on a processor (kernels for each new length take longer than the products)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medvlp.core.protocols import Level
from medvlp.models.encoders._blocks import Trunk, TrunkOutput
from medvlp.models.encoders.monai import MonaiEncoder
from medvlp.models.heads._dense import Solid

LAST = frozenset({"level[4]"})


def filled_memory() -> None:
    """Leave NaN where the next tensors are put."""
    held = [torch.full((1 << size,), float("nan")) for size in range(8, 22) for _ in range(10)]
    del held


def gradients(module: nn.Module, values: Tensor, *, half: bool) -> list[Tensor]:
    module.zero_grad()
    filled_memory()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        tower = isinstance(module, MonaiEncoder)
        made = module(values, parts=LAST).extra["level[4]"] if tower else module(values, None)
    filled_memory()
    made.float().square().sum().backward()
    return [each.grad.clone() for each in module.parameters() if each.grad is not None]


def test_a_join_over_two_slices_has_the_gradients_of_float32() -> None:
    join, values = Solid(3, 8, 8), torch.rand(2, 8, 2, 4, 4)
    for exact, found in zip(gradients(join, values, half=False), gradients(join, values, half=True), strict=True):
        assert torch.equal(exact, found)


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

"""BatchNorm in towers: as it is, replaced, or frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from timm.layers import GroupNormAct, freeze_batch_norm_2d
from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Norm = Literal["keep", "group", "frozen"]


def set_norm(module: Any, norm: Norm) -> Any:  # noqa: ANN401  (a module in, a module out)
    """Return the module with its BatchNorm layers treated as asked.

    BatchNorm makes a row's output depend on the rows beside it, so that chunks and processes change the result.
    ``group`` replaces each by GroupNorm with the same weights, whose rows are independent; ``frozen`` fixes
    statistics, weight and bias, which only makes sense with pretrained weights.
    """
    if norm == "frozen":
        return freeze_batch_norm_2d(module)
    if norm == "group":
        return _grouped(module)
    return module


@contextmanager
def by_running_statistics(module: nn.Module) -> Iterator[None]:
    """Let BatchNorm layers normalise by their running statistics and move none, whatever mode they are in.

    For a row that stands in for an absent view: its own statistics may not be defined, and would move the running ones.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training]
    before = [(norm.running_mean, norm.running_var) for norm in norms]
    for norm, (mean, var) in zip(norms, before, strict=True):
        norm.training = False
        # The backward pass needs them as they are now; another view may move them before.
        norm.running_mean, norm.running_var = (None if t is None else t.clone() for t in (mean, var))
    try:
        yield
    finally:
        for norm, (mean, var) in zip(norms, before, strict=True):
            norm.training = True
            norm.running_mean, norm.running_var = mean, var


def _grouped(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _grouped(child))
    if not isinstance(module, nn.BatchNorm2d):
        return module
    channels, groups = module.num_features, groups_of(module.num_features)
    if isinstance(module, BatchNormAct2d):
        new: nn.GroupNorm = GroupNormAct(channels, groups, eps=module.eps, affine=module.affine)
        new.act, new.drop = module.act, module.drop
    else:
        new = nn.GroupNorm(groups, channels, eps=module.eps, affine=module.affine)
    if module.affine:
        new.weight, new.bias = module.weight, module.bias
    return new


def groups_of(channels: int) -> int:
    """Return the number of groups of a GroupNorm: at most 32, of 4 channels or more, whose means say something."""
    return max(g for g in range(1, 33) if channels % g == 0 and (channels // g >= 4 or g == 1))

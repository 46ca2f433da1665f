"""BatchNorm in towers: kept, replaced, or frozen."""

from __future__ import annotations

from typing import Any, Literal

from timm.layers import GroupNormAct, freeze_batch_norm_2d
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

__all__ = ["Norm", "set_norm"]

Norm = Literal["keep", "group", "frozen"]


def set_norm(module: Any, norm: Norm) -> Any:  # noqa: ANN401  (a module in, a module out)
    """Return the module with its BatchNorm layers treated as asked.

    BatchNorm makes a row's output depend on the rows beside it: chunks and processes then change the result, and a
    gradient cannot be exact. ``group`` replaces each by GroupNorm with the same weights, whose rows are independent;
    ``frozen`` fixes statistics, weight and bias, which only makes sense with pretrained weights.

    Example:
        >>> set_norm(nn.Sequential(nn.BatchNorm2d(64)), "group")[0].num_groups
        16
    """
    if norm == "frozen":
        return freeze_batch_norm_2d(module)
    if norm == "group":
        return _grouped(module)
    return module


def _grouped(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.BatchNorm2d):
        return _group_norm(module)
    for name, child in module.named_children():
        replaced = _grouped(child)
        if replaced is not child:
            setattr(module, name, replaced)
    return module


def _group_norm(old: nn.BatchNorm2d) -> nn.Module:
    channels = old.num_features
    # At least 4 channels a group: statistics over one channel would erase its mean, which carries information.
    groups = max(g for g in range(1, 33) if channels % g == 0 and (channels // g >= 4 or g == 1))
    if isinstance(old, BatchNormAct2d):
        new: nn.GroupNorm = GroupNormAct(channels, groups, eps=old.eps, affine=old.affine)
        new.act, new.drop = old.act, old.drop
    else:
        new = nn.GroupNorm(groups, channels, eps=old.eps, affine=old.affine)
    if old.affine:
        new.weight, new.bias = old.weight, old.bias
    return new

"""How deep in its tower each parameter lies: what layer-wise learning rates go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from medvlp.core.protocols import Encoder


@dataclass(frozen=True)
class Depth:
    """Where a parameter lies: `layer` 0 in front of the first block, then the blocks'; `last` is the deepest."""

    layer: int
    last: int


def depths(root: nn.Module) -> dict[int, Depth]:
    """Return the depth of every parameter of the towers within a module, by its identity.

    A backbone of timm is divided as its `group_matcher` says; any other tower by the blocks that it publishes: what it
    registers in front of them, then each of them, the last with what it registers behind.
    """
    found: dict[int, Depth] = {}
    for tower in root.modules():
        if isinstance(tower, Encoder) and sum(isinstance(m, Encoder) for m in tower.modules()) == 1:
            found |= _of(tower)
    return found


def _of(tower: Encoder) -> dict[int, Depth]:
    backbone: Any = next((m for m in tower.modules() if callable(getattr(m, "group_matcher", None))), None)
    if backbone is not None:
        from timm.models import group_parameters

        groups: Any = group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True)
        last = max(groups.values())
        return {id(parameter): Depth(groups[name], last) for name, parameter in backbone.named_parameters()}
    blocks = [site.module for name, site in tower.sites().items() if name.startswith("block.before[")]
    inside = {id(parameter): i + 1 for i, block in enumerate(blocks) for parameter in block.parameters()}
    last = len(blocks)
    layers, passed = dict(inside), False
    for parameter in tower.parameters():
        passed = passed or id(parameter) in inside
        layers.setdefault(id(parameter), last if passed else 0)
    return {name: Depth(layer, last) for name, layer in layers.items()}

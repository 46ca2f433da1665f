"""Names of the places in a tower where a patch may stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from medvlp.core.protocols import Site

__all__ = ["TokenSite", "block_sites", "linear_sites"]


@dataclass(frozen=True)
class TokenSite(Site):
    """A site whose value is the tower's whole token tensor (R, N, W), rows in the batch's order.

    Attributes:
        prefix: leading tokens that stand for no place (class and register tokens).
        removable: whether tokens may be taken out; where they are masked or tied to a grid they may only be zeroed.
    """

    prefix: int = 0
    removable: bool = False


def block_sites(blocks: Sequence[nn.Module]) -> dict[str, Site]:
    """Return ``block.before[i]`` and ``block.after[i]``."""
    before: dict[str, Site] = {f"block.before[{i}]": Site(block, "before") for i, block in enumerate(blocks)}
    return {**before, **{f"block.after[{i}]": Site(block, "after") for i, block in enumerate(blocks)}}


def linear_sites(root: nn.Module) -> dict[str, Site]:
    """Return ``linear[NAME]`` for every linear layer, named as inside the root.

    Example:
        >>> sorted(linear_sites(nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))))
        ['linear[0]', 'linear[2]']
    """
    return {
        f"linear[{name}]": Site(module, "after")
        for name, module in root.named_modules()
        if isinstance(module, nn.Linear)
    }

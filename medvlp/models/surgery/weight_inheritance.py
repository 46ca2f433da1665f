"""Weight inheritance (TinyCLIP, Wu et al. 2023): a smaller tower is what is left of a larger one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._sites import level_parts
from medvlp.models.encoders._text import TextTower
from medvlp.models.surgery._blocks import Branches, branches_of, stack_of
from medvlp.models.surgery.learn_masks import Gated

Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(kw_only=True, eq=False)
class WeightInheritance:
    """Take blocks, attention heads and hidden channels out of a tower; what stays has the weights that it had.

    Manual inheritance: of L blocks the student's block i of l is the teacher's i floor(L / l); of heads and channels
    the first ones stay. Automatic inheritance: where the surgery ``learn_masks`` stands, the heads and channels stay
    whose gates are the most open, and the gates go into the weights; those that were closed are not missed. With all
    shares at 1 it is the identity. The width of the tokens stays, so that embeddings and heads fit as they are.

    The paper shrinks in stages, to 75, 50 and 25 % of the weights: as many phases, each with its surgery, or runs that
    start from each other's bundle. Let the larger model teach by ``affinity_mimicking`` meanwhile.

    Args:
        kind: of the tower; the trunk of a single-tower model is shared, so that both kinds shrink.
        layers: how many blocks stay, or the numbers of those that do, ascending; null: all.
        heads: share of each block's attention heads that stay, rounded, at least one.
        channels: share of each MLP's hidden channels that stay, rounded, at least one.

    Raises:
        ConfigError: by the call, if there is no such tower or block, its blocks are of another form, or patches stand.

    References:
        Wu et al. 2023 (TinyCLIP), section 3.2.

    Note:
        A smaller model forgets what is rare first: compare it with the larger one finding by finding, on hospitals that
        neither was trained on, before it replaces it at the bedside.

    Example:
        >>> WeightInheritance(kind="text", layers=3).staying(6)
        [0, 2, 4]
    """

    kind: str
    layers: Annotated[int, Field(ge=1)] | Sequence[int] | None = None
    heads: Share = 1.0
    channels: Share = 1.0

    def __call__(self, model: TowerModel) -> None:
        """Change the model's tower."""
        stack = stack_of(model, self.kind, who="weight_inheritance")
        stay = self.staying(len(stack))
        fewer = [i for i in range(len(stack)) if i not in stay]
        for i in reversed(fewer):
            del stack[i]
        if fewer:
            # Maps of inner blocks would be those of other blocks: they are no longer offered.
            tower = model.towers[self.kind]
            tower.offers, tower.levels = tower.offers - level_parts(tower.levels), ()
        for branches in branches_of(model, self.kind, who="weight_inheritance"):
            heads = _chosen(branches, 1, branches.heads, self.heads)
            channels = _chosen(branches, 3, branches.channels, self.channels)
            branches.select(heads, channels)
        for kind, tower in model.towers.items():
            inside = [module for site in tower.sites().values() for module in site.module.modules()]
            if not any(isinstance(module, Gated) for module in inside):
                model.unpublish(f"learn_masks@{kind}:")
                if isinstance(tower, TextTower):
                    tower.in_groups = type(tower).in_groups

    def staying(self, there: int) -> list[int]:
        """Return which of so many blocks stay."""
        if self.layers is None:
            return list(range(there))
        if isinstance(self.layers, int):
            stay = [i * (there // self.layers) for i in range(self.layers)]
        else:
            stay = list(self.layers)
        if not stay or stay != sorted(set(stay)) or not 0 <= stay[0] <= stay[-1] < there or self.layers == 0:
            raise ConfigError(
                f"layers of weight_inheritance is {self.layers}, and the {self.kind} tower has the blocks 0 to "
                f"{there - 1}: name some of them, ascending, or how many of them stay."
            )
        return stay


def _chosen(branches: Branches, which: int, there: int, share: float) -> Tensor | None:
    """Return which groups of a layer's inputs stay, ascending; None for all of them. Gates go into its weights."""
    count = max(1, round(share * there))
    module = branches.part(which)
    if isinstance(module, Gated):
        branches.put(which, module.folded())
        return module.gates.rank[:count].cpu().sort().values
    return None if count == there else torch.arange(count)

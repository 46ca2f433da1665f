"""A deeper tower: copies of some blocks, which at first pass on what they are given."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from medvlp.core.errors import ConfigError
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._blocks import zeroed
from medvlp.models.encoders.timm import TimmEncoder
from medvlp.models.surgery._blocks import Branches, stack_of


class GrowDepth:
    """Put a copy behind each of the named blocks of a tower, with the last layer of both its branches set to zero.

    The tower computes what it did, bit for bit, and the copy begins to move at the first step (LLaMA Pro, Wu et al.
    2024, section 3.2; the growth in depth of GrowCLIP, Deng et al. 2023; `grow_width` is the one in width). What frames
    exchange around a block (`x_clip`, `ila`) its copy leaves out.

    Args:
        kind: of the tower; the trunk of a single-tower model is shared, so that growing one kind grows both.
        after: numbers of the blocks, counted from 0 as they stand before the surgery.

    Raises:
        ConfigError: by the call, if there is no such tower or block, blocks are of another form, or patches stand.
    """

    def __init__(self, *, kind: str, after: Annotated[Sequence[int], Field(min_length=1)]) -> None:
        self.kind = kind
        self.after = tuple(after)

    def __call__(self, model: TowerModel) -> None:
        """Change the model's tower."""
        stack = stack_of(model, self.kind, who="grow_depth")
        wrong = sorted({i for i in self.after if not 0 <= i < len(stack)})
        if wrong or len(set(self.after)) < len(self.after):
            raise ConfigError(
                f"grow_depth.after is {list(self.after)}, and the {self.kind} tower has the blocks 0 to "
                f"{len(stack) - 1}: name some of them, each once."
            )
        for i in sorted(self.after, reverse=True):
            new = copy.deepcopy(stack[i])
            for hooks in (new._forward_hooks, new._forward_pre_hooks):
                hooks.clear()
            with torch.no_grad():
                for branch_ends in (1, 3):
                    zeroed(Branches(new).layer(branch_ends))
            stack.insert(i + 1, new)
        for tower in (each for each in model.modules() if isinstance(each, TimmEncoder)):
            if any(module is stack for module in tower.modules()):  # levels are still the same maps
                tower._maps = tuple(i + sum(each <= i for each in self.after) for i in tower._maps)

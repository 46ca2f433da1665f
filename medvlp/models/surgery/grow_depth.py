"""A deeper tower: copies of some blocks, which at first pass on what they are given."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from timm.models.vision_transformer import Block as TimmBlock
from torch import nn

from medvlp.core.errors import ConfigError
from medvlp.core.suggest import did_you_mean
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._blocks import Block

__all__ = ["GrowDepth"]


class GrowDepth:
    """Put a copy behind each of the named blocks of a tower, with the last layer of both its branches set to zero.

    The tower computes what it did, bit for bit, and the copy begins to move at the first step (LLaMA Pro, Wu et al.
    2024, section 3.2; GrowCLIP, Deng et al. 2023, without its search over where to grow and its growth in width).

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
        if self.kind not in model.towers:
            raise ConfigError(f"grow_depth finds no tower {self.kind!r}: {did_you_mean(self.kind, model.towers)}.")
        if model.spec.get("patches"):
            raise ConfigError("grow_depth would copy the patches that belong to the model: grow a model without any.")
        stack = _stack(model, self.kind)
        wrong = sorted({i for i in self.after if not 0 <= i < len(stack)})
        if wrong or len(set(self.after)) < len(self.after):
            raise ConfigError(
                f"grow_depth.after is {list(self.after)}, and the {self.kind} tower has the blocks 0 to "
                f"{len(stack) - 1}: name some of them, each once."
            )
        for i in sorted(self.after, reverse=True):
            new = copy.deepcopy(stack[i])
            with torch.no_grad():
                for linear in _last_layers(new):
                    for parameter in linear.parameters():
                        parameter.zero_()
            stack.insert(i + 1, new)


def _stack(model: TowerModel, kind: str) -> nn.ModuleList | nn.Sequential:
    """Return the container of a tower's blocks, which a shared trunk keeps outside the tower."""
    sites = model.towers[kind].sites()
    blocks = [site.module for name, site in sites.items() if name.startswith("block.before[")]
    stacks = (module for module in model.modules() if isinstance(module, (nn.ModuleList, nn.Sequential)))
    found = next((s for s in stacks if len(s) and [id(b) for b in s] == [id(b) for b in blocks]), None)
    if found is None or not all(isinstance(block, (Block, TimmBlock)) for block in found):
        raise ConfigError(
            f"grow_depth needs pre-norm transformer blocks, which the {kind} tower has not: use the encoder "
            "'transformer', timm's vision transformers or the architecture 'single'."
        )
    return found


def _last_layers(block: nn.Module) -> list[nn.Module]:
    """Return the layers by which a block's branches end."""
    names = ("attention.output", "mlp.2") if isinstance(block, Block) else ("attn.proj", "mlp.fc2")
    return [block.get_submodule(name) for name in names]

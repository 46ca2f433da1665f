"""The parts of pre-norm transformer blocks that surgery cuts, copies and lengthens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor, nn

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.protocols import Encoder
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._blocks import Block

_OWN = ("attention.qkv", "attention.output", "mlp.0", "mlp.2")
_TIMM = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def tower_of(model: TowerModel, kind: str, *, who: str) -> Encoder:
    """Return the tower of a kind; none, or patches in the model, are refused (ConfigError)."""
    if kind not in model.towers:
        raise ConfigError(f"{who} finds no tower {kind!r}: {did_you_mean(kind, model.towers)}.")
    if model.spec.get("patches"):
        raise ConfigError(f"{who} would change layers that patches stand at: change a model without any.")
    return model.towers[kind]


def stack_of(model: TowerModel, kind: str, *, who: str) -> nn.ModuleList | nn.Sequential:
    """Return the container of a tower's blocks, which a shared trunk keeps outside the tower.

    Raises:
        ConfigError: if there is no such tower, its blocks are of another form, or patches stand in the model.
    """
    sites = tower_of(model, kind, who=who).sites()
    blocks = [site.module for name, site in sites.items() if name.startswith("block.before[")]
    stacks = (module for module in model.modules() if isinstance(module, (nn.ModuleList, nn.Sequential)))
    found = next((s for s in stacks if len(s) and [id(b) for b in s] == [id(b) for b in blocks]), None)
    if found is None or not all(isinstance(block, (Block, TimmBlock)) for block in found):
        raise ConfigError(
            f"{who} needs pre-norm transformer blocks, which the {kind} tower has not: use the encoder "
            "'transformer', timm's vision transformers or the architecture 'single'."
        )
    return found


@dataclass(frozen=True)
class Branches:
    """The two branches of a block by their linear layers: attention (`qkv`, `output`) and MLP (`first`, `last`)."""

    block: nn.Module

    @property
    def names(self) -> tuple[str, str, str, str]:
        """Names of the four layers in the block."""
        return _OWN if isinstance(self.block, Block) else _TIMM

    @property
    def heads(self) -> int:
        """How many attention heads there are."""
        return int(getattr(self._attention, self._count))

    @property
    def channels(self) -> int:
        """Width of the MLP's hidden layer."""
        return self.layer(2).out_features

    def part(self, which: int) -> nn.Module | None:
        """Return what stands in the place of one of the four layers, in the order of `names`."""
        return dict(self.block.named_modules()).get(self.names[which])

    def layer(self, which: int) -> nn.Linear:
        """Return one of the four layers.

        Raises:
            ConfigError: if it is none: the block is of another form, or other surgery replaced it.
        """
        found = self.part(which)
        if not isinstance(found, nn.Linear):
            raise ConfigError(
                f"A block has no linear layer {self.names[which]}: do this surgery before upcycle, and only "
                f"weight_inheritance behind learn_masks."
            )
        return found

    def put(self, which: int, module: nn.Module) -> None:
        """Replace one of the four layers."""
        self.block.set_submodule(self.names[which], module)

    def select(self, heads: Tensor | None, channels: Tensor | None) -> None:
        """Let a block have these heads and hidden channels, by their numbers; -1 is a new one; None: those it has.

        A new one starts with random weights where it reads and zeros where it adds to the tokens, so that the block
        computes what it did.

        Raises:
            ConfigError: for a block with more layers across its heads or channels.
        """
        if heads is None and channels is None:
            return
        others = [getattr(self._attention, name, None) for name in ("norm", "gate")]
        if not all(each is None or isinstance(each, nn.Identity) for each in others) or (
            self.channels != self.layer(3).in_features
        ):
            raise ConfigError("A block whose attention is normed or gated, or whose MLP is, cannot be cut or widened.")
        if heads is not None:
            size = self.layer(0).out_features // (3 * self.heads)
            places = torch.where(heads[:, None] >= 0, heads[:, None] * size + torch.arange(size), -1).flatten()
            offsets = torch.arange(3)[:, None] * self.heads * size
            self.put(0, _selected(self.layer(0), rows=torch.where(places >= 0, places + offsets, -1).flatten()))
            self.put(1, _selected(self.layer(1), columns=places))
            setattr(self._attention, self._count, len(heads))
            if not isinstance(self.block, Block):
                self._attention.attn_dim = len(places)  # pyrefly: ignore
        if channels is not None:
            self.put(2, _selected(self.layer(2), rows=channels))
            self.put(3, _selected(self.layer(3), columns=channels))

    @property
    def _attention(self) -> nn.Module:
        return self.block.get_submodule(self.names[0].partition(".")[0])

    @property
    def _count(self) -> str:
        return "heads" if isinstance(self.block, Block) else "num_heads"


def branches_of(model: TowerModel, kind: str, *, who: str) -> Iterator[Branches]:
    """Yield the branches of a tower's blocks, in order; see `stack_of` for what is refused."""
    for block in stack_of(model, kind, who=who):
        yield Branches(block)


def _selected(old: nn.Linear, *, rows: Tensor | None = None, columns: Tensor | None = None) -> nn.Linear:
    """Return a layer with some outputs and inputs of another, -1 for new ones: random outputs, zero inputs."""
    weight, bias = old.weight.detach(), None if old.bias is None else old.bias
    if rows is not None:
        index = rows.to(weight.device)
        fresh = torch.randn(len(rows), weight.shape[1]).to(weight) * weight.std()
        weight = torch.where(index[:, None] >= 0, weight[index.clamp(min=0)], fresh)
        if bias is not None:
            own = torch.where(index >= 0, bias.detach()[index.clamp(min=0)], 0.0)
            bias = nn.Parameter(own, requires_grad=bias.requires_grad)
    if columns is not None:
        index = columns.to(weight.device)
        weight = torch.where(index >= 0, weight[:, index.clamp(min=0)], 0.0)
    new = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    new.weight = nn.Parameter(weight.contiguous(), requires_grad=old.weight.requires_grad)
    new.register_parameter("bias", bias)
    return new.train(old.training)

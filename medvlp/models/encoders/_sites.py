"""Names of the places in a tower where a patch may stand, and of the maps that it offers."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medvlp.core.protocols import Level, Site
from medvlp.models.encoders._blocks import TrunkOutput


class AddedTokens:
    """Which tokens of a tower's sequence were put in by patches: `where` (R, N') is True there; None: nowhere.

    The blocks see them; what the tower gives out has its own tokens only, so that tokens, mask, ids and grid agree.

    Example:
        >>> added = AddedTokens()
        >>> added.put(torch.tensor([[False, True, False]]))
        >>> added.mask(torch.tensor([[True, False]])).tolist(), added.drop(torch.tensor([[1.0, 9.0, 2.0]])).tolist()
        ([[True, True, False]], [[1.0, 2.0]])
    """

    def __init__(self) -> None:
        self.where: Tensor | None = None

    def clear(self) -> None:
        """Forget: other rows come."""
        self.where = None

    def put(self, where: Tensor) -> None:
        """Take in (R, N'): where the sequence, as it is now, has tokens that it had not before; as many in each row."""
        if self.where is not None:
            where = where.masked_scatter(~where, self.where)
        self.where = where

    def mask(self, real: Tensor) -> Tensor:
        """Return which tokens of the whole sequence are real, (R, N'), of the mask (R, N) of the tower's own."""
        if self.where is None:
            return real
        return self.where.masked_scatter(~self.where, real)

    def drop(self, values: Tensor) -> Tensor:
        """Return the rows of the tower's own tokens, (R, N, ...) of (R, N', ...)."""
        return values if self.where is None else values[~self.where].unflatten(0, (len(values), -1))


def without_added(out: TrunkOutput, added: AddedTokens) -> TrunkOutput:
    """Return what the trunk says of the tower's own tokens."""
    if added.where is None:
        return out
    layers, attention = out.layers, out.attention
    if layers is not None:
        layers = torch.stack([added.drop(state) for state in layers.unbind(1)], dim=1)
    if attention is not None:
        attention = torch.stack([own_attention(weights, added) for weights in attention.unbind(1)], dim=1)
    return TrunkOutput(added.drop(out.tokens), layers, attention)


def own_attention(weights: Tensor, added: AddedTokens) -> Tensor:
    """Return the weights between the tower's own tokens, (R, N, N) of (R, N', N')."""
    return added.drop(added.drop(weights).transpose(1, 2)).transpose(1, 2)


@dataclass(frozen=True)
class TokenSite(Site):
    """A site whose value is the tower's whole token tensor (R, N, W), rows in the batch's order.

    Attributes:
        prefix: leading tokens that stand for no place (class and register tokens).
        removable: whether tokens may be taken out; where they are masked or tied to a grid they may only be zeroed.
        added: where the tower is told of tokens that a patch puts in; None: it can take none.
        cut: where patches of a picture pass, alone, before they are given their places; None: nowhere.
    """

    prefix: int = 0
    removable: bool = False
    added: AddedTokens | None = None
    cut: Site | None = None


@dataclass(frozen=True)
class MlpSite(Site):
    """The MLP of a block: a patch is given its output and its input, and may return another network's output.

    Attributes:
        first: the module that its input enters, where `module` is only the last of two; None: `module` is all of it.
    """

    first: nn.Module | None = None

    def copy(self) -> nn.Module:
        """Return a network of its own weights, (..., W) -> (..., W), without the patches inside."""
        made = nn.Sequential(*(copy.deepcopy(m) for m in (self.first, self.module) if m is not None))
        for module in made.modules():
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
        return made


def block_sites(blocks: Sequence[nn.Module]) -> dict[str, Site]:
    """Return ``block.before[i]``, ``block.after[i]``, and for its MLP ``block.mlp.before[i]`` and ``block.mlp[i]``."""
    found: dict[str, Site] = {f"block.before[{i}]": Site(block, "before") for i, block in enumerate(blocks)}
    found |= {f"block.after[{i}]": Site(block, "after") for i, block in enumerate(blocks)}
    for i, mlp in ((i, _mlp_of(block)) for i, block in enumerate(blocks)):
        if mlp is not None:
            found[f"block.mlp.before[{i}]"] = Site(mlp.first or mlp.module, "before")
            found[f"block.mlp[{i}]"] = mlp
    return found


def sites_of(blocks: Sequence[nn.Module], root: nn.Module, pooled: nn.Module) -> dict[str, Site]:
    """Return `block_sites` and `linear_sites` of a tower, and ``pooled.output`` behind what it pools."""
    return {**block_sites(blocks), **linear_sites(root), "pooled.output": Site(pooled, "after")}


def _mlp_of(block: nn.Module) -> MlpSite | None:
    """Find it by the names that timm and transformers give it; BERT's kin have it in two modules."""
    children = dict(block.named_children())
    whole = next((children[name] for name in ("mlp", "ffn", "feed_forward") if name in children), None)
    if whole is not None:
        return MlpSite(whole, "after")
    output = dict(children["output"].named_children()) if "output" in children else {}
    if "intermediate" in children and "dense" in output:
        return MlpSite(output["dense"], "after", children["intermediate"])
    return None


def linear_sites(root: nn.Module) -> dict[str, Site]:
    """Return ``linear[NAME]`` for every linear layer that is called, named as inside the root."""
    passed_over = {id(layer) for module in root.modules() for layer in _uncalled(module)}
    return {
        f"linear[{name}]": Site(module, "after")
        for name, module in root.named_modules()
        if isinstance(module, nn.Linear) and id(module) not in passed_over
    }


def _uncalled(module: nn.Module) -> list[nn.Module]:
    """Return layers of a module whose weights it multiplies by itself: a patch behind them would never be asked."""
    if isinstance(module, nn.MultiheadAttention):
        return [module.out_proj]
    # timm's BEiT, EVA and Swin V2 keep the biases of q, k and v apart, and join them in one product with qkv's weight.
    biases = dict(module.named_parameters(recurse=False))
    if "q_bias" in biases and not vars(module).get("qkv_bias_separate", False):
        return [layer for name, layer in module.named_children() if name == "qkv"]
    return []


def level_name(index: int) -> str:
    """Name the part that holds a level: ``level[0]`` is the finest."""
    return f"level[{index}]"


def level_numbers(parts: Iterable[str]) -> list[int]:
    """Return which levels are among parts, finest first."""
    return sorted(int(part[len("level[") : -1]) for part in parts if part.startswith("level["))


def level_parts(levels: Sequence[Level]) -> frozenset[str]:
    """Return the parts of the levels of an encoder."""
    return frozenset(level_name(index) for index in range(len(levels)))

"""Optimisers with weight decay only where it is due, and their state by parameter name, as a checkpoint names it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from medvlp.core.errors import ConfigError, UserError
from medvlp.core.protocols import Encoder
from medvlp.core.registry import build
from medvlp.training._parts import held_as
from medvlp.training.rows import matches_nothing

logger = logging.getLogger(__name__)

_OF_GROUP = {"step": "step of its group", "weight": "weight of its group"}
# As timm's vision transformers say; then places of frames and slices, and which of two films is the prior.
_UNDECAYED = ("*position*", "*pos_embed*", "*cls_token*", "*reg_token*", "*dist_token*")
_UNDECAYED += ("*.place", "*.place.table", "*.order")


class OptimiserOptions(BaseModel):
    """How parameters are updated.

    Attributes:
        name: optimiser component (``medvlp components optimisers``).
        options: its own options.
        rate: peak learning rate.
        warmup: samples of linear warm-up from 0.
        schedule: component (``medvlp components schedules``) that says how the rate goes on after the warm-up.
        final: fraction of the peak rate at the end.
        weight_decay: decoupled; never on biases, norms, scales (tensors of one axis), embeddings of positions,
            or class and register tokens.
        betas: decay rates of the moments.
        eps: added to the root of the second moment; Lion has none.
        clip: largest gradient norm over all parameters; null for none.
        rates: factor on the rate by parameter-name pattern, the first match counts:
            ``{"model.towers.text.*": 0.1}``. One that matches no parameter, here or in `no_decay`, is refused, or told
            of where another phase's patches or surgery may bring the parameter.
        layer_decay: factor on the rate from each layer of a tower to the one in front of it, 0.65 to 0.9 for a
            transformer: the last block, heads and patches have the whole rate (BEiT, Bao et al. 2022).
        no_decay: patterns of further parameters that are not decayed: ``["model.heads.*/proto.*"]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = "adamw"
    options: dict[str, Any] = Field(default_factory=dict)
    rate: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=2000, ge=0)
    schedule: str = "cosine"
    final: float = Field(default=0.01, ge=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.98)
    eps: float = Field(default=1e-8, gt=0)
    clip: float | None = Field(default=1.0, gt=0)
    rates: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    no_decay: list[str] = Field(default_factory=list)


def make_optimiser(
    module: nn.Module, options: OptimiserOptions, *, where: str = "optimiser", others: bool = False
) -> torch.optim.Optimizer:
    """Build an optimiser over the parameters that require a gradient.

    Each group carries ``factor`` (on the rate), ``names``, its parameters' names in order, and ``spared``, whether they
    are of those that are never decayed.

    Args:
        module: whose parameters; patterns may match frozen ones too.
        options: how they are updated.
        where: path in the configuration, for sentences.
        others: whether the module has other parameters in other phases with these options: a pattern that matches
            nothing here is then logged, not refused.

    Raises:
        ConfigError: if a pattern matches no parameter.
        UserError: if nothing is trainable.
    """
    _check_patterns(module, options, where, others)
    groups: dict[tuple[bool, float, bool], list[tuple[str, nn.Parameter]]] = {}
    layers = depths(module) if options.layer_decay < 1 else {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            factor = next((f for pattern, f in options.rates.items() if fnmatch(name, pattern)), 1.0)
            if id(parameter) in layers:
                depth = layers[id(parameter)]
                factor *= options.layer_decay ** (depth.last - depth.layer)
            spared = parameter.dim() < 2 or any(fnmatch(name, each) for each in (*_UNDECAYED, *options.no_decay))
            # A fused step takes whole tensors or tensors in parts, not both.
            groups.setdefault((spared, factor, isinstance(parameter, DTensor)), []).append((name, parameter))
    if not groups:
        raise UserError("No parameter is trainable in this phase: widen phases[].trainable.")
    made = [
        {
            "params": [p for _, p in members],
            "names": [n for n, _ in members],
            "weight_decay": 0.0 if spared else options.weight_decay,
            "spared": spared,
            "factor": factor,
        }
        for (spared, factor, _), members in groups.items()
    ]
    given: dict[str, object] = {"groups": made, "rate": options.rate, "betas": options.betas, "eps": options.eps}
    given |= {"module": module, "schedule": options.schedule}
    return build("training/optimisers", {"name": options.name, **options.options}, where=where, given=given)


def check_options(options: OptimiserOptions, *, where: str) -> None:
    """Refuse what an optimiser itself refuses of its options (ConfigError), before there is a module to train."""
    plain = options.model_copy(update={"rates": {}, "no_decay": [], "layer_decay": 1.0})
    make_optimiser(nn.Linear(1, 1), plain, where=where)


def _check_patterns(module: nn.Module, options: OptimiserOptions, where: str, others: bool) -> None:
    names = [name for name, _ in module.named_parameters()]
    for field, patterns in (("rates", options.rates), ("no_decay", options.no_decay)):
        for pattern in patterns:
            if not any(fnmatch(name, pattern) for name in names):
                sentence = matches_nothing(f"{where}.{field}", pattern, pattern, names)
                if not others:
                    raise ConfigError(sentence)
                logger.warning("In this phase %s", sentence)


def set_rate(optimiser: torch.optim.Optimizer, options: OptimiserOptions, *, samples: int, horizon: int) -> float:
    """Set the rate for the step that starts after `samples` of `horizon`; returns the peak group's rate."""
    if samples < options.warmup:
        factor = samples / options.warmup
    else:
        done = min((samples - options.warmup) / max(horizon - options.warmup, 1), 1.0)
        given = {"done": done, "final": options.final}
        factor = build("training/schedules", {"name": options.schedule}, where="optimiser.schedule", given=given)
    # A rate of exactly 0 at the first step would leave Adam's moments set by a step not taken: start one sample in.
    factor = max(factor, 1.0 / max(options.warmup, 1)) if samples < options.warmup else factor
    for group in optimiser.param_groups:
        group["lr"] = options.rate * factor * group["factor"]
    return options.rate * factor


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return ``{"parameter|slot": tensor}``; what a group counts stands with each of its parameters."""
    out: dict[str, Tensor] = {}
    for group in optimiser.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for slot, value in optimiser.state.get(parameter, {}).items():
                out[f"{name}|{slot}"] = torch.as_tensor(value)
            for key in _OF_GROUP.keys() & group.keys() if optimiser.state.get(parameter) else ():
                wide = torch.float64 if isinstance(group[key], float) else None
                out[f"{name}|{_OF_GROUP[key]}"] = torch.as_tensor(group[key], dtype=wide)
    return out


def load_optimiser_state(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Take back what `optimiser_state` gave; parameters without an entry start afresh."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, slot = key.rpartition("|")
        by_name.setdefault(name, {})[slot] = value
    for group in optimiser.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if name in by_name:
                for key, slot in _OF_GROUP.items():
                    if slot in by_name[name]:
                        group[key] = by_name[name].pop(slot).to(parameter.device, copy=True)
                moved = {slot: held_as(value, parameter) for slot, value in by_name[name].items()}
                optimiser.state[parameter] = moved


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

"""Putting patches at named sites and taking them away again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model, Site
from medvlp.core.registry import build, fill
from medvlp.core.suggest import did_you_mean
from medvlp.models._draws import RowDraws
from medvlp.models._seeded import seeded
from medvlp.models.architectures._towers import TowerModel

__all__ = ["Handle", "Patch", "Uniform", "apply_patches", "match_sites"]

# n -> (R, n) draws in [0, 1) for the R rows that are being encoded: a function of (seed, sample, patch).
Uniform = Callable[[int], Tensor]


class Patch(nn.Module):
    """What a patch does with the value that passes its site.

    A component of `models/patches` is a subclass whose constructor has the options ``kind`` (the tower) and ``on`` (a
    site, ``*`` for any letters), may ask the builder for ``site`` (`Site`) and ``uniform`` (`Uniform`), and may own
    parameters: they live on the model, are trained and saved. One is built for each site that ``on`` matches.
    """

    def forward(self, value: Tensor, source: Tensor) -> Tensor:
        """Return what passes on.

        Args:
            value: the module's input at a site ``before``, its output at a site ``after``.
            source: the module's input.
        """
        raise NotImplementedError


@dataclass
class Handle:
    """Patches that stand.

    Attributes:
        sites: ``kind:site`` of each, in order.
    """

    sites: tuple[str, ...]
    _model: TowerModel
    _names: tuple[str, ...]
    _specs: list[dict[str, object]]
    _hooks: list[RemovableHandle] = field(default_factory=list)

    def remove(self) -> None:
        """Take all of them away; outputs are again, bit for bit, what they were without. A second call does nothing."""
        for hook in self._hooks:
            hook.remove()
        for name in self._names:
            if name in self._model.patches:
                del self._model.patches[name]
        standing = self._model.spec.get("patches")
        if isinstance(standing, list):
            self._model.spec["patches"] = [spec for spec in standing if all(spec is not own for own in self._specs)]
        self._hooks, self._names, self._specs = [], (), []


def apply_patches(
    model: Model, specs: Sequence[Mapping[str, object]], *, seed: int = 0, where: str = "patches"
) -> Handle:
    """Put patches at the sites of a model's towers, in the order of the list.

    Apply them before the optimiser is made and before the model is wrapped for several processes.

    Args:
        model: built by `build_model`.
        specs: ``{name: lora, kind: image, on: "linear[*qkv*]", rank: 8}``, components of `models/patches`.
        seed: of first weights and of draws.
        where: path in the configuration, for error sentences.

    Raises:
        ConfigError: for a faulty specification, a tower that there is not, or a site that its encoder does not publish.
    """
    if not isinstance(model, TowerModel):
        raise ConfigError(f"{where}: {type(model).__name__} publishes no sites: patches need a model of towers.")
    model.draws.seed = seed
    plan: list[tuple[str, Site, Patch]] = []
    kept: list[dict[str, object]] = []
    for i, spec in enumerate(specs):
        filled = fill("models/patches", spec, where=f"{where}[{i}]")
        kept.append(filled)
        for name, site in _find(model, filled, where=f"{where}[{i}]").items():
            key = _free_name(f"{filled['name']}@{filled['kind']}:{name}", model, [k for k, _, _ in plan])
            uniform = _Draws(model.draws, key)
            with seeded(seed, f"patch {key}"):
                patch = build("models/patches", spec, where=f"{where}[{i}]", given={"site": site, "uniform": uniform})
            plan.append((key, site, patch))
    names, hooks = [], []
    for key, site, patch in plan:  # only now: a fault in the last patch leaves the model as it was
        name = key.replace(".", "-")
        like = model.logit_scale.log_scale
        model.patches[name] = patch.to(device=like.device, dtype=like.dtype)
        names.append(name)
        hooks.append(_hook(site, patch))
    standing = model.spec.get("patches")
    model.spec["patches"] = [*(standing if isinstance(standing, list) else []), *kept]
    sites = tuple(key.partition("@")[2] for key, _, _ in plan)
    return Handle(sites, model, tuple(names), kept, hooks)


def match_sites(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that a pattern matches; ``*`` stands for any letters, everything else for itself.

    Example:
        >>> match_sites("linear[*.qkv]", ["linear[0.qkv]", "linear[0.mlp]"])
        ['linear[0.qkv]']
    """
    form = re.compile(re.escape(pattern).replace(r"\*", ".*"))
    return [name for name in names if form.fullmatch(name)]


def _find(model: TowerModel, filled: Mapping[str, object], *, where: str) -> dict[str, Site]:
    kind, pattern = str(filled["kind"]), str(filled["on"])
    if kind not in model.towers:
        raise ConfigError(f"{where}.kind is {kind!r}, and there is no such tower: {did_you_mean(kind, model.towers)}.")
    sites = model.towers[kind].sites()
    found = match_sites(pattern, list(sites))
    if not found:
        raise ConfigError(
            f"{where}.on is {pattern!r}, and the {kind} tower has no such site: {did_you_mean(pattern, sites)}."
        )
    return {name: sites[name] for name in found}


def _free_name(key: str, model: TowerModel, taken: Sequence[str]) -> str:
    number = 1
    name = key
    while name in taken or name.replace(".", "-") in model.patches:
        number += 1
        name = f"{key}#{number}"
    return name


@dataclass
class _Draws:
    """The draws of one patch: two patches at one sample draw independently."""

    rows: RowDraws
    name: str

    def __call__(self, count: int) -> Tensor:
        return self.rows.uniform(count, self.name)


@dataclass(eq=False)
class _Before:
    patch: Patch

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.patch(inputs[0], inputs[0]), *inputs[1:])


@dataclass(eq=False)
class _After:
    patch: Patch

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        # transformers layers are called with keywords only: their patches see the output alone
        return self.patch(output, inputs[0] if inputs else output)


def _hook(site: Site, patch: Patch) -> RemovableHandle:
    # Objects and not closures: a teacher that copies the model then patches its own modules with its own parameters.
    if site.when == "before":
        return site.module.register_forward_pre_hook(_Before(patch))
    return site.module.register_forward_hook(_After(patch))

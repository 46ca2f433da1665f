"""Putting patches at named sites and taking them away again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.protocols import Encoder, Model, Site
from medvlp.core.registry import build, fill
from medvlp.models._draws import RowDraws, seeded
from medvlp.models.architectures._recipe import kind_of
from medvlp.models.architectures._standing import Standing, match_sites
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.bank import Bank
from medvlp.models.encoders._sites import MlpSite, TokenSite

# n -> (R, n) draws in [0, 1) for the R rows that are being encoded: a function of (seed, sample, patch).
Uniform = Callable[[int], Tensor]


@dataclass(frozen=True)
class Patched:
    """What a patch returns that does more than change a value.

    Attributes:
        value: what passes on.
        added: (R, N) bool, True where `value` has a token that was not there, as many in each row. The tower's blocks
            see it and what the tower gives out lacks it.
        parts: what leaves the model beside, under the names in the patch's `gives`: (R, ...) tensors.
    """

    value: Tensor
    added: Tensor | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Patch(nn.Module):
    """What a patch does with the value that passes its site.

    A component of `models/patches` is a subclass whose constructor has the options ``kind`` (the tower) and ``on`` (a
    site, ``*`` for any letters); its parameters live on the model, are trained and saved. One is built for each
    site that ``on`` matches. It may ask the builder for ``site`` (`Site`), ``uniform`` (`Uniform`), ``rows``
    (`RowDraws`), ``bank`` (where its view names one), ``token_widths`` (of each tower, by kind), ``blocks`` (how
    many each has), ``text`` (the `TextEncoder`), ``vision_kind``, ``embed_dim``, ``site_name`` and ``share`` (`Share`).

    Attributes:
        gives: names of the parts that it returns at each pass: ``hidden`` at ``view: image.local`` is the key
            ``image.local/hidden``; (R, ..., L) where a specification matches several sites, in their order.
        reads: of a patch on a bank's texts that makes of them others for each image: the parts of images that it
            finds in ``rows.images``. Such texts are read by heads that have them encoded, as `text_classifier` does.
        idle: whether it does nothing in eval mode, so that a model in use is the same without it.
    """

    idle: ClassVar[bool] = False
    gives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    def stands_at(self, site: Site) -> Site:
        """Return where it stands if ``on`` names a site: there."""
        return site

    def forward(self, value: Tensor, source: Tensor) -> Tensor | Patched:
        """Return what passes on of `value`, the module's input at a site ``before``, its output at a site ``after``.

        `source` is the module's input.
        """
        raise NotImplementedError


def acting(model: Model) -> bool:
    """Return whether patches act in a model in use: those that are not `Patch.idle`."""
    return any(isinstance(each, Patch) and not each.idle for each in model.modules())


@dataclass
class Handle:
    """Patches that stand; `sites` are the ``kind:site`` of each, in order."""

    sites: tuple[str, ...]
    _model: TowerModel
    _standing: list[Standing]
    _specs: list[dict[str, object]]
    _hooks: list[RemovableHandle] = field(default_factory=list)

    def remove(self) -> None:
        """Remove the patches; outputs are again bit-identical to those without. A second call does nothing."""
        for hook in self._hooks:
            hook.remove()
        self._model.take_patches(self._standing)
        standing = self._model.spec.get("patches")
        if isinstance(standing, list):
            self._model.spec["patches"] = [spec for spec in standing if all(spec is not own for own in self._specs)]
        self._hooks, self._standing, self._specs = [], [], []


def apply_patches(
    model: Model, specs: Sequence[Mapping[str, object]], *, seed: int = 0, where: str = "patches"
) -> Handle:
    """Put patches at the sites of a model's towers, before the optimiser is made and the model is wrapped.

    Args:
        model: built by `build_model`.
        specs: ``{name: lora, kind: image, on: "linear[*qkv*]", rank: 8}``, components of `models/patches`, in order;
            ``on`` may be several patterns with commas between. Beside its own options each may have ``view``: where it
            acts, ``*`` for any letters (``bank.*``, ``image.local``); all other views pass as if it were not there.
        seed: of first weights and of draws.
        where: path in the configuration, for error sentences.

    Raises:
        ConfigError: for a faulty specification, a tower or view that there is not, a site that its encoder does not
            publish, or a part that the model gives already.
    """
    if not isinstance(model, TowerModel):
        raise ConfigError(f"{where}: {type(model).__name__} publishes no sites: patches need a model of towers.")
    model.draws.seed = seed
    plan: list[_Planned] = []
    released: list[dict[str, object]] = []
    try:
        for i, spec in enumerate(specs):
            made, filled = _plan(model, spec, [p.standing for p in plan], seed=seed, where=f"{where}[{i}]")
            plan += made
            released.append(filled)
    except ConfigError:
        model.take_patches([p.standing for p in plan])
        raise
    hooks = []
    for one in plan:  # only now: a fault in the last patch leaves the model as it was
        model.stand(one.standing, one.patch)
        hooks += _hook(one.site, _Passing(one.patch, one.standing, model.draws, one.site))
    listed = model.spec.get("patches")
    model.spec["patches"] = [*(listed if isinstance(listed, list) else []), *released]
    everything = [one.standing for one in plan]
    return Handle(tuple(s.key.partition("@")[2] for s in everything), model, everything, released, hooks)


@dataclass(frozen=True, eq=False)
class _Planned:
    standing: Standing
    site: Site
    patch: Patch


def _plan(
    model: TowerModel, spec: Mapping[str, object], before: Sequence[Standing], *, seed: int, where: str
) -> tuple[list[_Planned], dict[str, object]]:
    """Build the patches of one specification; return them and what the model's specification keeps of it."""
    filled = fill("models/patches", spec, where=where, beside=("view",))
    sites = _find(model, filled, where=where)
    kind, view = str(filled["kind"]), str(spec.get("view", "*"))
    bank = _check_view(model, kind, view, where=where)
    given: dict[str, object] = {
        "rows": model.draws,
        "token_widths": {k: t.token_width for k, t in model.towers.items()},
        "blocks": {k: _blocks(t) for k, t in model.towers.items()},
        "vision_kind": model.vision_kind,
        "embed_dim": model.embed_dim,
    }
    given |= {"text": model.towers["text"]} if "text" in model.towers else {}
    given |= {} if bank is None else {"bank": bank}
    plan, key = [], ""
    try:
        for name, site in sites.items():
            key = _free_name(f"{filled['name']}@{kind}:{name}", model, [s.key for s in before])
            here = {"site": site, "site_name": name, "uniform": partial(model.draws.uniform, name=key)}
            with seeded(seed, f"patch {key}"):
                share = model.shared.asking(key, like=model.logit_scale.log_scale, where=where)
                patch: Patch = build("models/patches", filled, where=where, given={**given, **here, "share": share})
            standing = Standing(key, kind, view, patch.gives, len(sites) > 1, patch.reads)
            plan.append(_Planned(standing, patch.stands_at(site), patch))
            model.shared.settle(key, inside=True, where=where)
        _refuse_parts(model, plan[0].standing, before, where=where)
    except ConfigError:
        model.shared.forget(key)
        model.take_patches([p.standing for p in plan])
        raise
    return plan, {**filled, **({} if view == "*" else {"view": view})}


def _find(model: TowerModel, filled: Mapping[str, object], *, where: str) -> dict[str, Site]:
    kind, pattern = str(filled["kind"]), str(filled["on"])
    if kind not in model.towers:
        raise ConfigError(f"{where}.kind is {kind!r}, and there is no such tower: {did_you_mean(kind, model.towers)}.")
    sites = model.towers[kind].sites()
    found: dict[str, Site] = {}
    for one in (each.strip() for each in pattern.split(",")):
        matched = match_sites(one, list(sites))
        if not matched:
            raise ConfigError(
                f"{where}.on is {one!r}, and the {kind} tower has no such site: {did_you_mean(one, sites)}."
            )
        found |= {name: sites[name] for name in matched}
    return found


def _blocks(tower: Encoder) -> int:
    """Return how many transformer blocks a tower has; the stages of a convolutional one are none."""
    return sum(name.startswith("block.before[") for name in tower.sites()) if "layers" in tower.offers else 0


def _check_view(model: TowerModel, kind: str, view: str, *, where: str) -> Bank | None:
    """Refuse a pattern that no view of the tower can match; return the bank, where the pattern names one."""
    if not view.startswith("bank."):
        plain = "*" in view.partition(".")[0] or kind_of(view) == kind
        if not plain:
            raise ConfigError(f"{where}.view is {view!r}, and the {kind} tower encodes no such view: use {kind!r}.")
        return None
    encoded = [name for name, bank in model.banks.items() if bank.vectors is None]
    found = match_sites(view.removeprefix("bank."), encoded)
    if kind != "text" or not found:
        there = f"the model encodes the banks {', '.join(encoded)}" if encoded else "the model encodes no bank"
        raise ConfigError(f"{where}.view is {view!r}, and the {kind} tower encodes no such view: {there}, as texts.")
    return model.banks[found[0]] if "*" not in view else None


def _refuse_parts(model: TowerModel, new: Standing, before: Sequence[Standing], *, where: str) -> None:
    """Refuse a part that something else of the kind gives already."""
    others = {part for s in (*model.standing, *before) if s.kind == new.kind for part in s.gives}
    heads = {name.partition("/")[2] for name in model.heads if name.startswith(f"{new.kind}/")}
    for part in sorted({*new.gives} & (others | heads | model.towers[new.kind].offers)):
        raise ConfigError(f"{where}: the model gives {new.kind}/{part} already: leave one of the two out.")


def _free_name(key: str, model: TowerModel, used: Sequence[str]) -> str:
    number = 1
    name = key
    while name in used or name.replace(".", "-") in model.patches:
        number += 1
        name = f"{key}#{number}"
    return name


@dataclass(eq=False)
class _Passing:
    """What a site's hook does with a value: nothing at other views, else what the patch says."""

    patch: Patch
    standing: Standing
    rows: RowDraws
    site: Site
    entered: Tensor | None = None  # what entered the first of two modules, until the last gives its output

    def before(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self(inputs[0], inputs[0]), *inputs[1:])

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.entered = inputs[0]

    def after(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        # transformers layers are called with keywords only: their patches see only the output
        source = self.entered if self.entered is not None else inputs[0] if inputs else output
        self.entered = None
        return self(output, source)

    def __call__(self, value: Tensor, source: Tensor) -> Tensor:
        rests = self.patch.idle and not self.patch.training and self.rows.asked.isdisjoint(self.patch.gives)
        if rests or not self.standing.acts_on(self.rows.view):
            return value
        out = self.patch(value, source)
        added = self.site.added if isinstance(self.site, TokenSite) else None
        if isinstance(out, Patched) and out.added is not None:
            if added is None:
                raise ConfigError(
                    f"Patch {self.standing.key!r} adds tokens where its tower can take none: put it at words.input or "
                    f"tokens.input of a tower that can."
                )
            added.put(out.added)
        elif _passed(out).shape[1] != value.shape[1]:
            if added is not None and added.where is not None:
                raise ConfigError(
                    f"Patch {self.standing.key!r} takes tokens away after another patch added some: list it before "
                    f"that one."
                )
            if "hidden" in self.rows.asked:  # of all tokens
                raise ConfigError(
                    f"Patch {self.standing.key!r} takes tokens away where others are hidden to be filled in: set its "
                    f"mode to zero, or let it act on another view."
                )
        for part, tensor in (out.parts if isinstance(out, Patched) else {}).items():
            self.rows.give(part, self.standing.key, tensor)
        return _passed(out)


def _passed(out: Tensor | Patched) -> Tensor:
    return out.value if isinstance(out, Patched) else out


def _hook(site: Site, passing: _Passing) -> list[RemovableHandle]:
    # Bound methods and not closures: a teacher that copies the model then patches its own modules.
    if site.when == "before":
        return [site.module.register_forward_pre_hook(passing.before)]
    hooks = [site.module.register_forward_hook(passing.after)]
    if isinstance(site, MlpSite) and site.first is not None:
        hooks.append(site.first.register_forward_pre_hook(passing.enter))
    return hooks

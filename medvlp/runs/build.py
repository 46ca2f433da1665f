"""From the typed tree to the things themselves: tokenizer, banks, model, states, phases."""

from __future__ import annotations

import copy
import logging
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from medvlp.answers.asking.declared import Declared, declare
from medvlp.config.components import weight_of
from medvlp.config.tree import PhaseConfig, RunConfig, TokenizerConfig
from medvlp.core import collectives
from medvlp.core.errors import ConfigError, DataError, UserError, did_you_mean
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, Plan
from medvlp.core.protocols import HeadSpec, Model, Objective, State, Teacher
from medvlp.core.registry import build, fill
from medvlp.core.resources import resource_folder
from medvlp.core.schedules import Number
from medvlp.core.views import BatchView, View
from medvlp.data.loader import Loader
from medvlp.data.pipeline import added_fields
from medvlp.data.prepare import Prepared
from medvlp.measures._points import check_choice
from medvlp.models._draws import seeded
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.bank import Bank, encoded_bank, read_bank
from medvlp.models.build import build_model
from medvlp.models.bundle import load_described, load_words
from medvlp.models.patches import apply_patches
from medvlp.models.surgery import operate
from medvlp.runs.data import build_views
from medvlp.runs.needs import check_followed, check_need, check_refreshed, check_unpatched
from medvlp.runs.phases import phase_begin, phase_ends, sampler_of
from medvlp.runs.release import training_texts
from medvlp.state._model_teacher import ModelTeacher
from medvlp.text.saved_tokenizers import load_tokenizer
from medvlp.text.tokenizers import Tokenizer, TransformersTokenizer
from medvlp.text.wordpiece import train_wordpiece
from medvlp.training.checkpoints import latest
from medvlp.training.phases import PhasePlan
from medvlp.training.task import make_plan

logger = logging.getLogger(__name__)

Words = Mapping[str, Sequence[Tokenizer]]


# words --------------------------------------------------------------------------------------------------------------


def open_tokenizer(config: RunConfig, run: Path, train: Prepared) -> Tokenizer | None:
    """Load the tokenizer of a run that has checkpoints; else take that of `init_from`, else train one on the reports.

    Token embeddings mean nothing to another tokenizer: a run that goes on, or starts from a bundle, must have the same.
    None where there are no texts.
    """
    path = path_of(config.tokenizer)
    if path is not None:
        return TransformersTokenizer(path, max_length=config.tokenizer.max_length)
    made = None
    if collectives.rank() == 0:
        made = load_tokenizer(run / "tokenizer") if _has_words(run) else _new_tokenizer(config, train)
    return collectives.broadcast_object(made)


def save_words(config: RunConfig, run: Path, tokenizer: Tokenizer | None) -> None:
    """Write the tokenizer of a run that begins into its folder; only who holds the folder may."""
    if config.tokenizer.path is None and not _has_words(run):
        shutil.rmtree(run / "tokenizer", ignore_errors=True)
        if tokenizer is not None:
            tokenizer.save(run / "tokenizer")


def _has_words(run: Path) -> bool:
    # Without a checkpoint nothing was trained with what lies there, and it may be half written or of another recipe.
    return latest(run) is not None and (run / "tokenizer").is_dir()


def path_of(tokenizer: TokenizerConfig) -> str | None:
    """Return where a tokenizer of transformers lies; None for one that is trained here.

    Raises:
        ConfigError: if it is not said, or is said of the other; before anything is read, for whoever asks at the start.
    """
    if tokenizer.name == "transformers" and tokenizer.path is None:
        raise ConfigError("tokenizer.path is missing: give the folder or name of the transformers tokenizer.")
    if tokenizer.name != "transformers" and tokenizer.path is not None:
        raise ConfigError(
            f"tokenizer.path is read by name: transformers, and the name is {tokenizer.name}: change one of them."
        )
    return tokenizer.path


def _new_tokenizer(config: RunConfig, train: Prepared) -> Tokenizer | None:
    given = None if config.init_from is None else load_words(config.init_from)
    if given is not None and given.max_length != config.tokenizer.max_length:
        logger.info(
            f"Words are those of {config.init_from}, texts of {given.max_length} tokens: tokenizer.max_length "
            f"{config.tokenizer.max_length} and vocab_size are not used."
        )
    # A bundle of pictures alone has no words: a model that reads some learns them here.
    if given is not None or (config.init_from is not None and "text" not in config.model):
        return given
    if "text" not in train.manifest:
        return None
    texts = [text for text in training_texts(train) if text]
    return train_wordpiece(texts, vocab_size=config.tokenizer.vocab_size, max_length=config.tokenizer.max_length)


def build_banks(config: RunConfig, *, encode: bool = True) -> dict[str, Bank]:
    """Read the banks' texts, and `encode` those with an encoder; files lie in the working folder or ``configs/``.

    Raises:
        DataError: if a file is missing, empty, or has an entry twice.
    """
    banks, configs = {}, resource_folder("configs")
    for name, bank in config.banks.items():
        path, shipped = Path(bank.file).expanduser(), configs / bank.file
        if not path.is_file() and not shipped.is_file():
            beside = (*shipped.parent.glob("*.txt"), *shipped.parent.glob("*.yaml"))
            there = [each.relative_to(configs).as_posix() for each in beside]
            raise DataError(
                f"banks.{name}.file {bank.file!r} is neither a file nor in configs/: "
                f"{did_you_mean(bank.file, there) if there else 'give a text file with one entry a line'}."
            )
        banks[name] = read_bank(path if path.is_file() else shipped, name=name)
        if encode and bank.encoder is not None:
            banks[name] = encoded_bank(banks[name], bank.encoder, where=f"banks.{name}.encoder")
    return banks


# recipe -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """What a run trains with, and what its model can be asked; `views` are those that its objectives declare, last."""

    model: Model
    tokenizer: Tokenizer | None
    states: Mapping[str, State]
    objectives: Sequence[Mapping[str, Objective]]
    weights: Sequence[Mapping[str, Number]]
    answers: Mapping[str, Declared]
    views: Sequence[View] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """Boxes and masks that somebody reads: batches hold no others."""
        plans = [make_plan(phase, self.states) for phase in self.objectives]
        plans += [Plan.of(state.refresh_needs()) for state in self.states.values()]
        asked = {name for plan in plans for name in plan.fields}
        return tuple(sorted(name for name in asked if parse_field(name).kind in ("boxes", "mask")))


def build_parts(config: RunConfig, tokenizer: Tokenizer | None, fields: Sequence[str]) -> Parts:
    """Build model, states, objectives and answers, and refuse a recipe that cannot be computed, before any batch.

    `fields` are those that the data has.

    Raises:
        ConfigError: naming the phase, the need, and what is missing.
    """
    check_unpatched(config)
    model = build_model(config.model, tokenizer=tokenizer, banks=build_banks(config), seed=config.seed)
    if config.init_from is not None and (done := load_described(config.init_from)["model"].get("surgery")):
        operate(model, done, where=f"init_from {config.init_from}: surgery")  # heads and needs are of what it left
    given: dict[str, object] = {"model": model, "vocab_size": tokenizer.vocab_size if tokenizer else 0}
    states = {name: _state(name, spec, given) for name, spec in config.states.items()}
    with seeded(config.seed, "objectives"):  # a score may have weights
        objectives, weights = build_objectives(config.phases, given)
    specs: list[Mapping[str, object]] = []
    for objective in (part for phase in objectives for part in phase.values()):
        specs += [spec for spec in objective.data_views() if spec not in specs]
    views = build_views(specs, where="views of objectives")
    fields = [*fields, *added_fields(views)]
    refreshed: set[str] = set()
    for i, phase in enumerate(objectives):
        there = {*fields, *(field for state in states.values() for field in state.fields())}
        there |= {field for view in _batch_views(config.phases[i], i) for field in getattr(view, "adds", ())}
        who = [(f"objective {name!r}", each.needs()) for name, each in phase.items()]
        who += [(f"state {name!r}", each.needs() | each.refresh_needs()) for name, each in states.items()]
        for name, needs in who:
            for key in sorted(needs):
                check_need(key, name, states, there, f"phases[{i}]")
        for j, refresh in enumerate(config.phases[i].refresh):
            if refresh.state not in states:
                raise ConfigError(
                    f"phases[{i}].refresh[{j}].state is {refresh.state!r}: {did_you_mean(refresh.state, states)}."
                )
            refreshed.add(refresh.state)
        check_refreshed(phase, states, refreshed, where=f"phases[{i}]")
        check_followed(sampler_of(config, config.phases[i]), states, refreshed, where=f"phases[{i}]")
        heads = _heads_of(phase, where=f"phases[{i}]")
        plan = make_plan(phase, states)
        passes = [states[refresh.state].refresh_needs() for refresh in config.phases[i].refresh]
        # What the phase's patches give may be needed; training puts them in place again when the phase begins.
        patches = apply_patches(model, config.phases[i].patches, seed=config.seed, where=f"phases[{i}].patches")
        model.mount(heads, Plan.of(plan.needs.union(*passes)))
        shaped = model
        if any(each.surgery for each in config.phases[: i + 1]):
            patches.remove()
            shaped = operated(model, config, i)
        for wanted in (plan, *map(Plan.of, passes)):
            shaped.check(wanted)
        patches.remove()
    answers = declare([phase.values() for phase in objectives], config.answers, model)
    if config.evaluation.choose is not None:
        asked = {name: each.answer for name, each in answers.items()}
        check_choice(config.evaluation.choose, asked, options=config.evaluation.measures)
    return Parts(model, tokenizer, states, objectives, weights, answers, views)


def operated(model: Model, config: RunConfig, index: int) -> Model:
    """Return a copy with all surgery up to a phase and the patches of that phase: surgery may give what is needed."""
    shaped = copy.deepcopy(model)
    for i, phase in enumerate(config.phases[: index + 1]):
        operate(shaped, phase.surgery, seed=config.seed, where=f"phases[{i}].surgery")
    apply_patches(shaped, config.phases[index].patches, seed=config.seed, where=f"phases[{index}].patches")
    return shaped


def build_objectives(
    phases: Sequence[PhaseConfig], given: Mapping[str, object]
) -> tuple[list[dict[str, Objective]], list[dict[str, Number]]]:
    """Build every phase's objectives; one with the same options in two phases is the same module.

    ``weight`` is a number or a ramp (``{start, end, until}``), 1 by default; ``as`` renames one, where a phase has two
    of a kind.
    """
    built: dict[str, tuple[dict[str, object], Objective]] = {}
    objectives: list[dict[str, Objective]] = []
    weights: list[dict[str, Number]] = []
    for i, phase in enumerate(phases):
        here: dict[str, Objective] = {}
        rates: dict[str, Number] = {}
        names: set[str] = set()
        for j, spec in enumerate(phase.objectives):
            where = f"phases[{i}].objectives[{j}]"
            filled = fill("objectives", spec, where=where, beside=("weight", "as"))
            name = str(spec.get("as", filled["name"]))
            if not re.fullmatch(r"\w[\w-]*", name):
                raise ConfigError(f"{where}.as is {name!r}: use letters, digits, _ and -.")
            if hasattr(nn.ModuleDict(), name):
                raise ConfigError(f"{where}: torch's modules have a {name!r} of their own: give another, `as: NAME`.")
            if name in names:
                raise ConfigError(f"{where}: the phase has two objectives named {name!r}: give one of them `as: NAME`.")
            names.add(name)
            earlier = (each for each in (name, *(f"{name}-{k}" for k in range(i))) if each in built)
            unique = next((each for each in earlier if built[each][0] == filled), "")
            if not unique:
                unique = name if name not in built else f"{name}-{i}"
                built[unique] = (filled, _objective(filled, where, given))
            here[unique] = built[unique][1]
            rates[unique] = weight_of(spec.get("weight", 1.0), where=f"{where}.weight")
        objectives.append(here)
        weights.append(rates)
    return objectives, weights


def _objective(options: Mapping[str, object], where: str, given: Mapping[str, object]) -> Objective:
    """Build an objective, and refuse what the engine would pass over."""
    made = build("objectives", options, where=where, given=given)
    if not isinstance(made, Objective):
        raise ConfigError(f"{where}: {options['name']!r} makes no Objective: derive its class from that.")
    if made.scope not in ("batch", "sample"):
        raise ConfigError(f"{where}: the scope of {options['name']!r} is {made.scope!r}: make it 'batch' or 'sample'.")
    _refuse_no_keys(made.needs(), options, where)
    return made


def _state(name: str, spec: Mapping[str, object], given: Mapping[str, object]) -> State:
    """Build a state, and refuse what the engine could not ask, or not save."""
    where = f"states.{name}"
    made = build("state", spec, where=where, given={**given, "name": name})
    if not isinstance(made, State):
        raise ConfigError(f"{where}: {spec['name']!r} makes no State: derive its class from that.")
    for needs in (made.needs(), made.refresh_needs()):
        _refuse_no_keys(needs, spec, where)
    if not isinstance(made, Teacher):  # which is bound to the model later
        saved = made.state_dict()
        if not isinstance(saved, Mapping) or not all(isinstance(each, Tensor) for each in saved.values()):
            raise ConfigError(f"{where}: {spec['name']!r} cannot be saved: let state_dict() return {{name: tensor}}.")
    return made


def _refuse_no_keys(needs: object, spec: Mapping[str, object], where: str) -> None:
    if not isinstance(needs, Collection) or not all(isinstance(key, Key) for key in needs):
        raise ConfigError(f"{where}: {spec['name']!r} needs {needs!r}, no keys: let needs() return keys(...).")


def _heads_of(phase: Mapping[str, Objective], *, where: str) -> dict[str, HeadSpec]:
    """Return the heads that the objectives of a phase declare; one that two declare differently is refused."""
    found: dict[str, HeadSpec] = {}
    for who, objective in phase.items():
        for name, spec in objective.heads().items():
            first = found.setdefault(name, spec)
            one, other = (
                fill("models/heads", {"name": each.name, **each.options}, where=f"head {name}")
                for each in (first, spec)
            )
            if one != other or (first.twins, first.weights) != (spec.twins, spec.weights):
                raise ConfigError(
                    f"{where}: objective {who!r} declares the head {name!r} as {other}, and another as {one}: give "
                    "both the same options, or one of the heads another name."
                )
            found[name] = replace(first, keep=first.keep or spec.keep)
    return found


def _words_of(phase: PhaseConfig, objectives: Mapping[str, Objective], parts: Parts) -> Words:
    """Return which tokenizers a phase needs the ids of, by field of texts: its model's, and those of its teachers."""
    passes = [parts.states[refresh.state].refresh_needs() for refresh in phase.refresh]
    plan = Plan.of(make_plan(objectives, parts.states).needs.union(*passes))
    asked: list[tuple[object, Plan]] = [(parts.model, plan)]
    for name, own in plan.teachers.items():
        teacher = parts.states[name]
        asked.append((teacher.model if isinstance(teacher, ModelTeacher) else None, own))
    found: dict[str, dict[str, Tokenizer]] = {}
    for model, own in asked:
        if isinstance(model, TowerModel) and model.tokenizer is not None:
            for view in own.views:
                if not view.startswith("bank.") and parse_field(view).kind == "text":
                    found.setdefault(view, {})[model.tokenizer.identity] = model.tokenizer
    return {view: tuple(words.values()) for view, words in found.items()}


def phase_plan(
    config: RunConfig,
    parts: Parts,
    at: int,
    loaders: Callable[[PhaseConfig, Callable[[], Words]], Callable[[int], Loader]],
) -> PhasePlan:
    """Put a phase together; `loaders` gives, for a phase and its words, what starts a loader at samples seen.

    Words are asked for when a loader starts: surgery may have given the model another tokenizer by then.
    """
    phase = config.phases[at]
    loader = loaders(phase, partial(_words_of, phase, parts.objectives[at], parts))
    follows = str(sampler_of(config, phase).get("state") or "")
    if not follows:
        try:
            loader(phase_begin(config, phase))  # a faulty sampler is refused now, and not when its phase begins
        except UserError as error:
            raise type(error)(f"phases[{at}]: {error}") if phase.sampler or phase.where else error from None
    return PhasePlan(
        until=phase_ends(config)[at],
        objectives=parts.objectives[at],
        weights=parts.weights[at],
        optimiser=phase.optimiser or config.optimiser,
        own_optimiser=phase.optimiser is not None,
        batches=lambda start: iter(loader(start)),
        follows=follows,
        episode=lambda first, last: loader(first).episode(first, last),
        replays=lambda start: loader(start).replayed(),
        trainable=phase.trainable,
        patches=phase.patches,
        surgery=phase.surgery,
        refresh=phase.refresh,
        batch_views=_batch_views(phase, at),
    )


def _batch_views(phase: PhaseConfig, at: int) -> list[BatchView]:
    where = f"phases[{at}].batch_views"
    made = [build("data/batch_views", spec, where=f"{where}[{j}]") for j, spec in enumerate(phase.batch_views)]
    filled = any(spec.get("blank") is not None or spec.get("uncertain") for spec in phase.objectives)
    views = zip(phase.batch_views, made, strict=True)
    lost = [spec["name"] for spec, view in views if getattr(view, "loses_labels", False)]
    if filled and lost:
        raise ConfigError(f"{where}: blank or uncertain of an objective fills what {lost[0]} leaves unknown: drop one.")
    return made

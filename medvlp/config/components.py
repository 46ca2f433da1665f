"""Where a configuration names components: each is checked, and its defaults are filled in."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from medvlp.core.errors import ConfigError
from medvlp.core.registry import available, fill, path_words, schema, validation_sentences
from medvlp.core.schedules import Number, Ramp, ends_of
from medvlp.data.splits import split_spec
from medvlp.training.optimisation import OptimiserOptions, check_options

# Path (* is every key or item), folder of components, keys that stand beside a component's own options.
_PLACES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("model", "models/architectures", ()),
    ("model.vision", "models/encoders", ()),
    ("model.text", "models/encoders", ()),
    ("banks.*.encoder", "models/text_vectors", ()),
    ("states.*", "state", ()),
    ("data.layout", "data/layouts", ()),
    ("data.split", "data/splits", ()),
    ("data.sets.*.layout", "data/layouts", ()),
    ("data.sets.*.split", "data/splits", ()),
    ("data.sampler", "data/samplers", ()),
    ("data.prefix.*", "data/views", ()),
    ("data.suffix.*", "data/views", ()),
    ("training.track.*", "training/trackers", ()),
    ("phases.*.sampler", "data/samplers", ()),
    ("phases.*.objectives.*", "objectives", ("weight", "as")),
    ("phases.*.patches.*", "models/patches", ("view",)),
    ("phases.*.surgery.*", "models/surgery", ()),
    ("phases.*.batch_views.*", "data/batch_views", ()),
)
# These are checked alone: a recipe's hash is of what is written there.
_CHECKED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("model.heads.*", "models/heads", ("weights",)),
    ("model.stack", "models/encoders", ()),
    ("model.patches.*", "models/patches", ("view",)),
    ("phases.*.objectives.*.score", "models/scores", ()),
)
_Path = tuple[int | str, ...]


def named(value: object) -> object:
    """A component may be given by its name alone."""
    return {"name": value} if isinstance(value, str) else value


def named_model(value: object) -> object:
    """A model may be given by its name alone, and so may its towers."""
    model = named(value)
    towers = ("vision", "text", "stack")
    return {k: named(v) if k in towers else v for k, v in model.items()} if isinstance(model, Mapping) else model


def weight_of(value: object, *, where: str) -> Number:
    """Return how much an objective counts: a finite number, or a ramp.

    Raises:
        ConfigError: for anything else.
    """
    try:
        number = Ramp.model_validate(value) if isinstance(value, Mapping) else value
    except ValidationError as error:
        raise ConfigError(" ".join(validation_sentences(error, where=where, model=Ramp))) from None
    plain = isinstance(number, int | float | Ramp) and not isinstance(number, bool)
    if not plain or not all(map(math.isfinite, ends_of(number))):
        raise ConfigError(f"{where} is {value!r}: give a finite number or a ramp {{start, end, until}}.")
    return number if isinstance(number, Ramp) else float(number)


def component_faults(tree: Mapping[str, object], error: ValidationError) -> list[str]:
    """Return a sentence for each fault of components of a tree that has faults of its own elsewhere."""
    tree = deepcopy(dict(tree))
    if isinstance(tree.get("model"), str):  # what is judged may be a bundle's folder
        del tree["model"]
    return fill_components(tree, wrong=[fault["loc"] for fault in error.errors()])


def fill_components(tree: dict[str, Any], *, wrong: Collection[_Path] = ()) -> list[str]:
    """Fill the defaults of all components of a plain tree in, in place; return a sentence for each fault of theirs.

    A component that has a path of `wrong` in it is passed over.
    """
    faults: list[str] = []

    def filled(folder: str, spec: Mapping[str, Any], where: str, beside: tuple[str, ...] = ()) -> dict[str, Any]:
        try:
            checked = fill(folder, spec, where=where, beside=beside)
        except ConfigError as error:
            faults.append(str(error))
            return dict(spec)
        own = {"weight": 1.0} if "weight" in beside else {}
        return {**checked, **own, **{key: spec[key] for key in beside if key in spec}}

    def found(path: str) -> Iterator[tuple[Any, Any, str]]:
        for node, key, at in _found(tree, path.split("."), ()):
            if not any(each[: len(at)] == at for each in wrong):
                yield node, key, path_words(at)

    for path, folder, beside in _PLACES:
        for node, key, where in found(path):
            spec = node[key]
            if key == "split":  # which is said where one set is divided
                spec = None if node.get("sets") or node.get("part") is not None else split_spec(spec)
            if isinstance(spec := named(spec), Mapping):
                node[key] = filled(folder, spec, where, beside)
    for path, folder, beside in _CHECKED:
        for node, key, where in found(path):
            if isinstance(spec := named(node[key]), Mapping):
                filled(folder, spec, where, beside)
    words = [node[key] for node, key, _ in found("tokenizer.name")] or ["clinical_wordpiece"]
    for node, key, where in found("model.text.tokenizer"):
        if node[key] not in (None, *words):
            faults.append(f"{where} is {node[key]!r}, and tokenizer.name is {words[0]!r}: let both be the same.")
    for path, check in (("phases.*.objectives.*.weight", weight_of), ("answers.*", _check_answer)):
        for node, key, where in found(path):
            try:
                check(node[key], where=where)
            except ConfigError as error:
                faults.append(str(error))
    for path in ("optimiser", "phases.*.optimiser"):
        for node, key, where in found(path):
            with suppress(ValidationError):  # under a key that is wrong itself
                known, options = len(faults), OptimiserOptions.model_validate(node[key])
                filled("training/schedules", {"name": options.schedule}, f"{where}.schedule")
                own = "options" if options.name in available("training/optimisers") else "name"
                made = filled("training/optimisers", {"name": options.name, **options.options}, f"{where}.{own}")
                node[key] = {**node[key], "options": {each: made[each] for each in made if each != "name"}}
                try:
                    if len(faults) == known:
                        check_options(options, where=where)
                except ConfigError as error:
                    faults.append(f"{where}: {error}")
    for node, key, where in found("evaluation.measures.*"):
        if isinstance(node[key], Mapping):
            node[key] = filled("measures", {"name": key, **node[key]}, where)
            node[key].pop("name")
    return faults


def _check_answer(options: object, *, where: str) -> None:
    """Refuse options (ConfigError) that an answer has not; an objective that teaches it may give what lacks."""
    name = options.get("name", where.rpartition(".")[2]) if isinstance(options, Mapping) else None
    if not isinstance(options, Mapping) or ("name" not in options and name not in available("answers")):
        return
    own = {key: value for key, value in options.items() if key != "name"}
    try:
        model = schema("answers", str(name))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    try:
        model.model_validate(own)
    except ValidationError as error:
        if faults := validation_sentences(error, where=where, model=model, lacking=False):
            raise ConfigError(" ".join(faults)) from None


def _found(node: Any, steps: Sequence[str], at: _Path) -> Iterator[tuple[Any, Any, _Path]]:  # noqa: ANN401
    head, rest = steps[0], steps[1:]
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(items):
        if head in ("*", key):
            yield from _found(value, rest, (*at, key)) if rest else iter([(node, key, (*at, key))])

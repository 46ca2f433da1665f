"""Where a configuration names components: each is checked, and its defaults are filled in."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from medvlp.core.errors import ConfigError
from medvlp.core.registry import available, fill, path_words, schema, truth_values, validation_sentences
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
    said = value.values() if isinstance(value, Mapping) else [value]
    plain = isinstance(number, int | float | Ramp) and not any(isinstance(each, bool) for each in said)
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
    filling = _Filling(tree, wrong)
    filling.places()
    filling.tokenizer()
    filling.objectives_and_answers()
    filling.optimisers()
    filling.measures()
    return filling.faults


class _Filling:
    """One pass over the components of a tree: what lacks is filled in, and what is wrong goes to `faults`."""

    def __init__(self, tree: dict[str, Any], wrong: Collection[_Path]) -> None:
        self.tree, self.wrong = tree, wrong
        self.faults: list[str] = []

    def places(self) -> None:
        """Fill in what is named in a place for components; of some the defaults are not written down."""
        for path, folder, beside in _PLACES:
            for node, key, where in self._found(path):
                spec = node[key]
                if key == "split":  # which is said where one set is divided
                    spec = None if node.get("sets") or node.get("part") is not None else split_spec(spec)
                if isinstance(spec := named(spec), Mapping):
                    node[key] = self._filled(folder, spec, where, beside)
        for path, folder, beside in _CHECKED:
            for node, key, where in self._found(path):
                if isinstance(spec := named(node[key]), Mapping):
                    self._filled(folder, spec, where, beside)

    def tokenizer(self) -> None:
        """The text tower's is the one that the texts are read with."""
        words = [node[key] for node, key, _ in self._found("tokenizer.name")] or ["clinical_wordpiece"]
        for node, key, where in self._found("model.text.tokenizer"):
            if node[key] not in (None, *words):
                self.faults.append(
                    f"{where} is {node[key]!r}, and tokenizer.name is {words[0]!r}: let both be the same."
                )

    def objectives_and_answers(self) -> None:
        """Check the weights of objectives and the options of answers."""
        for path, check in (("phases.*.objectives.*.weight", weight_of), ("answers.*", _check_answer)):
            for node, key, where in self._found(path):
                try:
                    check(node[key], where=where)
                except ConfigError as error:
                    self.faults.append(str(error))

    def optimisers(self) -> None:
        """Fill in options of optimisers, those of torch's and timm's among them; their schedules are checked."""
        for path in ("optimiser", "phases.*.optimiser"):
            for node, key, where in self._found(path):
                with suppress(ValidationError):  # under a key that is wrong itself
                    known, options = len(self.faults), OptimiserOptions.model_validate(node[key])
                    self._filled("training/schedules", {"name": options.schedule}, f"{where}.schedule")
                    own = "options" if options.name in available("training/optimisers") else "name"
                    spec = {"name": options.name, **options.options}
                    made = self._filled("training/optimisers", spec, f"{where}.{own}")
                    node[key] = {**node[key], "options": {each: made[each] for each in made if each != "name"}}
                    try:
                        if len(self.faults) == known:
                            check_options(options, where=where)
                    except ConfigError as error:
                        self.faults.append(f"{where}: {error}")

    def measures(self) -> None:
        """Fill in the options of measures, each named by its key."""
        for node, key, where in self._found("evaluation.measures.*"):
            if isinstance(node[key], Mapping):
                node[key] = self._filled("measures", {"name": key, **node[key]}, where)
                node[key].pop("name")

    def _filled(self, folder: str, spec: Mapping[str, Any], where: str, beside: tuple[str, ...] = ()) -> dict[str, Any]:
        try:
            checked = fill(folder, spec, where=where, beside=beside)
        except ConfigError as error:
            self.faults.append(str(error))
            return dict(spec)
        own = {"weight": 1.0} if "weight" in beside else {}
        return {**checked, **own, **{key: spec[key] for key in beside if key in spec}}

    def _found(self, path: str) -> Iterator[tuple[Any, Any, str]]:
        for node, key, at in _found(self.tree, path.split("."), ()):
            if not any(each[: len(at)] == at for each in self.wrong):
                yield node, key, path_words(at)


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
        faults = truth_values(own, model.model_validate(own).model_dump(), where=where)
    except ValidationError as error:
        faults = validation_sentences(error, where=where, model=model, lacking=False)
    if faults:
        raise ConfigError(" ".join(faults))


def _found(node: Any, steps: Sequence[str], at: _Path) -> Iterator[tuple[Any, Any, _Path]]:  # noqa: ANN401
    head, rest = steps[0], steps[1:]
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(items):
        if head in ("*", key):
            yield from _found(value, rest, (*at, key)) if rest else iter([(node, key, (*at, key))])

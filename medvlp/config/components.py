"""Where a configuration names components: each is checked, and its defaults are filled in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from medvlp.core.errors import ConfigError
from medvlp.core.registry import available, fill
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
_CHECKED = (("model.heads.*", "models/heads", ("weights",)), ("model.stack", "models/encoders", ()))
_Path = tuple[int | str, ...]


def component_faults(tree: Mapping[str, object], error: ValidationError) -> list[str]:
    """Return a sentence for each fault of components of a tree that has faults of its own elsewhere."""
    return fill_components(deepcopy(dict(tree)), wrong=[fault["loc"] for fault in error.errors()])


def fill_components(tree: dict[str, Any], *, wrong: Collection[_Path] = ()) -> list[str]:
    """Fill the defaults of all components of a plain tree in, in place; return a sentence for each fault of theirs.

    A component that has a path of `wrong` in it is passed over.
    """
    faults: list[str] = []

    def filled(folder: str, spec: Mapping[str, Any], where: str, beside: tuple[str, ...] = ()) -> dict[str, Any]:
        try:
            checked = fill(folder, {key: value for key, value in spec.items() if key not in beside}, where=where)
        except ConfigError as error:
            faults.append(str(error))
            return dict(spec)
        return {**checked, **{key: spec[key] for key in beside if key in spec}}

    def found(path: str) -> Iterator[tuple[Any, Any, str]]:
        for node, key, at in _found(tree, path.split("."), ()):
            if not any(each[: len(at)] == at for each in wrong):
                yield node, key, "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in at)[1:]

    for path, folder, beside in _PLACES:
        for node, key, where in found(path):
            spec = node[key]
            if key == "split":  # which is said where one set is divided
                spec = None if node.get("sets") or node.get("part") is not None else split_spec(spec)
            elif isinstance(spec, str) and "." in path:
                spec = {"name": spec}
            if isinstance(spec, Mapping):
                node[key] = filled(folder, spec, where, beside)
    for path, folder, beside in _CHECKED:
        for node, key, where in found(path):
            if isinstance(node[key], Mapping):
                filled(folder, node[key], where, beside)
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


def _found(node: Any, steps: Sequence[str], at: _Path) -> Iterator[tuple[Any, Any, _Path]]:  # noqa: ANN401
    head, rest = steps[0], steps[1:]
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(items):
        if head in ("*", key):
            yield from _found(value, rest, (*at, key)) if rest else iter([(node, key, (*at, key))])

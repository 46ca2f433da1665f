"""A component's name is its file: ``{name: clip}`` under objectives is ``medvlp/objectives/clip.py``.

It is imported when asked for and only if that file exists; the component is the first public class or function that the
file defines, or the first name of its ``__all__`` where it is not.
Other packages add theirs by the entry point group ``medvlp.<folder>``. No list to edit, no import string in YAML.

A component's schema is its constructor: explicit keyword arguments with annotations and defaults. A parameter annotated
`FromModel` is given by the builder and cannot be set in YAML.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import typing
from abc import ABCMeta
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticSerializationError

from medvlp.core.errors import ConfigError, did_you_mean

Value = TypeVar("Value")


@dataclass(frozen=True)
class FromModel:
    """Marks a constructor parameter that the builder gives: ``width: Annotated[int, FromModel("width")]``."""

    what: str


@cache
def available(folder: str) -> tuple[str, ...]:
    """Names of the components in a folder (``"objectives"``, ``"models/heads"``), entry points included, sorted.

    Packages within it hold what components share, and are none.
    """
    spec = importlib.util.find_spec("medvlp." + folder.replace("/", "."))
    if spec is None or spec.submodule_search_locations is None:
        raise ConfigError(f"There is no component folder {folder!r} in medvlp.")
    own = {
        m.name
        for m in pkgutil.iter_modules(spec.submodule_search_locations)
        if not m.name.startswith("_") and not m.ispkg
    }
    return tuple(sorted(own | {point.name for point in _points(folder)}))


@cache
def component(folder: str, name: str) -> Callable[..., Any]:
    """Import one component: the first public class or function that its file defines, or the first of its ``__all__``.

    Raises:
        ConfigError: if there is no such file, with the nearest name, it does not tell which it is, another package has
            one of this name too, or brings one that cannot be imported.
    """
    if name not in available(folder):
        raise ConfigError(
            f"There is no {folder} component named {name!r}: {did_you_mean(name, available(folder))}; "
            f"`medvlp components {folder}` lists all, those of another package once it is installed."
        )
    place = f"medvlp.{folder.replace('/', '.')}.{name}"
    points = {point.value: point for point in _points(folder) if point.name == name}
    known = [*points, *([place] if importlib.util.find_spec(place) is not None else [])]
    if len(known) > 1:
        raise ConfigError(
            f"There are {len(known)} {folder} components named {name!r} ({', '.join(known)}): rename all but one, or "
            "uninstall its package."
        )
    for point in points.values():
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"The {folder} component {name!r} of another package, {point.value}, cannot be imported ({error}): "
                "mend its entry point, or uninstall that package."
            ) from error
    module = importlib.import_module(place)
    public = next(iter(getattr(module, "__all__", _own(module))), None)
    if public is None:
        raise ConfigError(f"The {folder} module {name!r} defines no public class or function, which a component is.")
    return getattr(module, public)


@cache
def name_of(folder: str, kind: type) -> str:
    """Return what a configuration calls a component's class: its file, or its entry point; else where it is defined."""
    inside, name = f"medvlp.{folder.replace('/', '.')}.", kind.__qualname__
    if kind.__module__.startswith(inside):
        return kind.__module__.removeprefix(inside)
    points = (point for point in _points(folder) if point.attr == name)
    return next((point.name for point in points if point.load() is kind), f"{kind.__module__}.{name}")


def _own(module: ModuleType) -> list[str]:
    """Return the public classes and functions that a module defines, in their order."""
    defined = [(n, part) for n, part in vars(module).items() if inspect.isclass(part) or inspect.isfunction(part)]
    return [name for name, part in defined if part.__module__ == module.__name__ and not name.startswith("_")]


@cache
def schema(folder: str, name: str) -> type[BaseModel]:
    """Return a pydantic model of a component's options, unknown keys forbidden."""
    target = component(folder, name)
    options: dict[str, Any] = {}
    for parameter, annotation in options_of(target):
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        options[parameter.name] = (annotation, Field(default=default))
    config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, protected_namespaces=())
    config |= ConfigDict(validate_default=True, ser_json_inf_nan="constants")
    return create_model(f"{folder}.{name}", __config__=config, **options)


def options_of(target: Callable[..., Any]) -> list[tuple[inspect.Parameter, Any]]:
    """Return the parameters of a component that a configuration gives, with their annotations."""
    return [(parameter, annotation) for parameter, annotation in _parameters(target) if _given(annotation) is None]


def fill(
    folder: str, spec: Mapping[str, object], *, where: str, given: Collection[str] = (), beside: Collection[str] = ()
) -> dict[str, object]:
    """Check a ``{name: ..., option: ...}`` spec and return it, plain, with every default.

    Args:
        folder: component folder.
        spec: of the component.
        where: path in the configuration, for error sentences.
        given: what its builder has for parameters annotated `FromModel`.
        beside: keys of the spec that are not the component's: left out.

    Raises:
        ConfigError: all faults at once, each with its path and the nearest right name.
    """
    name = spec.get("name") if isinstance(spec, Mapping) else None  # of a bundle it may be anything
    if not isinstance(name, str):
        raise ConfigError(
            f"{where} needs a name: {did_you_mean('', available(folder))}; `medvlp components {folder}` lists all."
        )
    try:
        model = schema(folder, name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    reserved = ("name", *beside)
    if own := [key for key in reserved if key in model.model_fields]:  # never given it, it would keep its default
        raise ConfigError(f"{where}: {name!r} has an option `{own[0]}` of its own: call it otherwise.")
    options = {key: value for key, value in spec.items() if key not in reserved}
    try:
        made = model.model_validate(options).model_dump(mode="json")
    except ValidationError as error:
        faults, at = validation_sentences(error, where=where, model=model), component(folder, name).__module__
        lacks = [each["loc"][0] for each in error.errors() if each["type"] == "missing"]
        faults += [f"Or annotate it FromModel({each!r}) in {at}: then it is given." for each in lacks if each in given]
        raise ConfigError(" ".join(faults)) from None
    except PydanticSerializationError as error:
        raise ConfigError(f"{where}: no file holds an option of {name!r} ({error}): give it a plain type.") from error
    if faults := truth_values(options, made, where=where):
        raise ConfigError(" ".join(faults))
    return {"name": name, **made}


def build(folder: str, spec: Mapping[str, object], *, where: str, given: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401
    """Build a component from its spec.

    Args:
        folder: component folder.
        spec: ``{name: ..., option: ...}``.
        where: path in the configuration, for error sentences.
        given: values for parameters annotated `FromModel`, by what they ask.

    Raises:
        ConfigError: for a faulty spec, an unfinished class, or when the builder has not what the component asks.
    """
    filled = fill(folder, spec, where=where, given=given or ())
    target = component(folder, str(filled.pop("name")))
    if isinstance(target, ABCMeta) and target.__abstractmethods__:
        raise ConfigError(f"{where}: {target.__name__} lacks {', '.join(sorted(target.__abstractmethods__))}: add it.")
    options = dict(schema(folder, str(spec["name"])).model_validate(filled))
    for parameter, annotation in _parameters(target):
        marker = _given(annotation)
        if marker is not None and given is not None and marker.what in given:
            options[parameter.name] = given[marker.what]
        elif marker is not None and parameter.default is inspect.Parameter.empty:
            raise ConfigError(f"{where}: {spec['name']!r} needs {marker.what!r} from the model, which has none.")
    return target(**options)


def json_schema(folder: str) -> dict[str, object]:
    """Return the JSON Schema of all components of a folder, for editors; ``$defs`` with unique names at its top."""
    choices, shared = [], {}
    for name in available(folder):
        prefix = f"{folder.replace('/', '.')}.{name}."
        try:
            part = schema(folder, name).model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
        except Exception as error:  # whatever is wrong with one of another package, the others are as they were
            part = dict[str, Any](description=f"Cannot be used: {error}")
        shared |= {prefix + key: value for key, value in part.pop("$defs", {}).items()}
        part.setdefault("properties", {})["name"] = {"const": name}
        part["required"] = sorted({*part.get("required", []), "name"})
        choices.append(part)
    return {"oneOf": choices, "$defs": shared}


_installed = cache(entry_points)  # reads a file of each package
_SHOWN = 120  # characters of a value: what a whole part of a tree holds would bury the sentence


def path_words(steps: Iterable[int | str]) -> str:
    """Write a path in a tree as an override may: ``phases[0].until``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def validation_sentences(
    error: ValidationError, *, where: str, model: type[BaseModel], lacking: bool = True
) -> list[str]:
    """Turn a pydantic error into one sentence a fault, with the path and the nearest right name.

    A model's `other_names` say what a key of other programs is called here. Without `lacking` nothing is said of what
    is missing.
    """
    sentences = []
    for fault, loc in _of_what_was_meant(error):
        if fault["type"] == "missing" and not lacking:
            continue
        path = path_words([where, *loc] if where else loc)
        if fault["type"] == "extra_forbidden":
            key, known = str(loc[-1]), _fields_at(model, loc[:-1])
            here = getattr(model, "other_names", {}).get(key)
            sentences.append(
                f"{path} is not a known key: {f'here it is {here}' if here else did_you_mean(key, known)}."
            )
        elif fault["type"] == "missing":
            sentences.append(f"{path} is missing: give it a value.")
        elif fault["type"] == "value_error" and isinstance(fault["input"], Mapping) and len(loc) == 1:
            # Of a whole part of a tree: what it holds would bury the sentence.
            sentences.append(f"{path}: {fault['ctx']['error']}.")
        else:
            shown = repr(fault["input"])
            shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} ..."
            sentences.append(f"{path} is {shown}: {fault['msg'][0].lower()}{fault['msg'][1:]}.")
    return sentences


def readable(read: Callable[[Value], object]) -> AfterValidator:
    """Annotate an option that is refused when it is given as `read` would refuse it later, after hours of training."""

    def check(value: Value) -> Value:
        try:
            read(value)
        except ConfigError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return value

    return AfterValidator(check)


def truth_values(given: object, made: object, *, where: str) -> list[str]:
    """Return a sentence for each ``true`` or ``false`` that pydantic took for the number 1 or 0.

    Args:
        given: plain data.
        made: the same when it was validated, plain again.
        where: path in the configuration; may be empty.

    Example:
        >>> truth_values({"until": True}, {"until": 1, "name": "x"}, where="phases[0]")
        ['phases[0].until is True: input should be a number, not true or false.']
    """
    if isinstance(given, bool) and isinstance(made, int | float) and not isinstance(made, bool):
        return [f"{where} is {given}: input should be a number, not true or false."]
    if isinstance(given, Mapping) and isinstance(made, Mapping):
        pairs = [(f"{where}.{key}".removeprefix("."), each, made.get(key)) for key, each in given.items()]
    elif isinstance(given, list | tuple) and isinstance(made, list | tuple):
        pairs = [(f"{where}[{at}]", each, there) for at, (each, there) in enumerate(zip(given, made, strict=False))]
    else:
        return []
    return [fault for path, each, there in pairs for fault in truth_values(each, there, where=path)]


def _of_what_was_meant(error: ValidationError) -> Iterator[tuple[Any, tuple[int | str, ...]]]:
    """Yield faults and their paths, of a number or a ramp those of the one that was written: pydantic tells of both."""
    faults = error.errors()
    ramps = {fault["loc"][:n] for fault in faults for n, step in enumerate(fault["loc"]) if "Ramp" in str(step)}
    numbers = {fault["loc"][:-1]: fault["input"] for fault in faults if fault["loc"][-1:] == ("float",)}
    for fault in faults:
        loc = fault["loc"]
        at = next((n for n in range(len(loc)) if loc[:n] in ramps & numbers.keys()), None)
        if at is None:
            yield fault, loc
        elif (loc[at] == "float") != isinstance(numbers[loc[:at]], Mapping):
            yield fault, (*loc[:at], *loc[at + 1 :])


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    current: Any = model
    for step in path:
        if isinstance(step, int):
            continue
        field = current.model_fields.get(step) if hasattr(current, "model_fields") else None
        if field is None:
            break
        current = next((t for t in _types_in(field.annotation) if hasattr(t, "model_fields")), current)
    return list(getattr(current, "model_fields", {}))


def _types_in(annotation: Any) -> list[Any]:  # noqa: ANN401
    inner = typing.get_args(annotation)
    return [annotation] if not inner else [t for part in inner for t in _types_in(part)]


def _parameters(target: Callable[..., Any]) -> list[tuple[inspect.Parameter, Any]]:
    function = target.__init__ if inspect.isclass(target) else target
    # A class without a constructor of its own has that of object or torch.nn.Module, and no options.
    if function is object.__init__ or (inspect.isclass(target) and function.__module__.startswith("torch.")):
        return []
    try:
        found, hints = [], typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        fault = f"{error} in {function.__module__}: import it there, and not under TYPE_CHECKING"
        raise ConfigError(f"Component {target.__name__}: {fault}.") from error
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            raise ConfigError(f"Component {target.__name__} passes {parameter} through: name every option instead.")
        if parameter.name not in hints:
            raise ConfigError(f"Component {target.__name__} has no annotation for {parameter}: write one.")
        found.append((parameter, hints[parameter.name]))
    return found


def _given(annotation: Any) -> FromModel | None:  # noqa: ANN401
    if typing.get_origin(annotation) is not Annotated:
        return None
    return next((extra for extra in typing.get_args(annotation)[1:] if isinstance(extra, FromModel)), None)


def _points(folder: str) -> list[Any]:
    return list(_installed().select(group=f"medvlp.{folder.replace('/', '.')}"))

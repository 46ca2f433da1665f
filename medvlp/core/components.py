"""What can be named in a configuration: every component, its paper, its options, and where a shipped file uses it."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from medvlp.core.docstrings import arguments, example, first_line, paper, section
from medvlp.core.errors import UserError, did_you_mean
from medvlp.core.registry import available, component, schema
from medvlp.core.resources import resource_folder


@dataclass(frozen=True, slots=True)
class Kind:
    """A folder of components.

    Attributes:
        folder: below ``medvlp``.
        what: what its components are, in a few words.
        place: where a configuration names one.
        path: pattern of that place in a file, its keys joined by dots and list positions left out.
    """

    folder: str
    what: str
    place: str
    path: str


KINDS = {
    kind.folder: kind
    for kind in (
        Kind("objectives", "what is learnt: the terms of a loss", "phases[].objectives", r"phases\.objectives"),
        Kind("state", "what lives across steps: teachers, queues, clusters", "states", r"states\.\w+"),
        Kind("answers", "what a model can be asked", "answers", r"answers\.\w+"),
        Kind("answers/recipes", "how prompts become scores", "recipe, in a recipe of configs/zero_shot", r"recipe"),
        Kind("measures", "how a model is judged", "evaluation.measures", r"(evaluation\.)?measures\.\w+"),
        Kind("adaptation", "probes of frozen features", "evaluation.measures.probes.probes", r".*\.probes\.probes"),
        Kind("adaptation/attacks", "what is misread", "evaluation.measures.attacks.attacks", r".*\.attacks\.attacks"),
        Kind("features/maps", "heat maps", "evaluation.measures.grounding.maps", r".*\.grounding\.maps"),
        Kind("models/architectures", "how towers are put together", "model", r"model"),
        Kind("models/encoders", "towers", "model.vision, model.text", r"model\.(vision|text|stack|volume)(\.slice)?"),
        Kind("models/heads", "what reads a tower's output", "model.heads", r"model\.heads\..+"),
        Kind("models/scores", "how a picture and a text are compared", "score of an objective", r".*\.score"),
        Kind("models/patches", "reversible changes of a tower", "phases[].patches", r"phases\.patches"),
        Kind("models/surgery", "permanent changes of a model", "phases[].surgery", r"phases\.surgery"),
        Kind("models/text_vectors", "vectors of texts that do not learn", "banks.NAME.encoder", r"banks\.\w+\.encoder"),
        Kind("data/layouts", "how a folder becomes records", "data.layout, medvlp data index", r"data\.layout"),
        Kind("data/splits", "who trains, chooses and tests", "data.split, medvlp data split", r"data\.split"),
        Kind("data/samplers", "in which order records come", "data.sampler", r"data\.sampler"),
        Kind("curation", "which records of a pool stay", "medvlp data curate --rule", r"-"),
        Kind("data/views", "what is done to a sample", "data.prefix, data.suffix", r"data\.(prefix|suffix)"),
        Kind("data/batch_views", "what is done to a batch", "phases[].batch_views", r"phases\.batch_views"),
        Kind("training/optimisers", "how weights are updated", "optimiser.name", r"(phases\.)?optimiser\.name"),
        Kind("training/schedules", "how the rate goes down", "optimiser.schedule", r"(phases\.)?optimiser\.schedule"),
        Kind("training/trackers", "services that a run's rows go to", "training.track", r"training\.track"),
        Kind("zoo", "other projects' checkpoints", "medvlp convert --from", r"-"),
        Kind("zoo/exports", "forms of other libraries", "medvlp export --to", r"-"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One component in one line.

    Attributes:
        kind: folder of components.
        name: what a configuration names.
        summary: first line of its file.
        paper: the first paper that its documentation names; None where it names none.
    """

    kind: str
    name: str
    summary: str
    paper: str | None

    def line(self) -> str:
        """Return the summary, with the paper behind it where the summary names none."""
        return self.summary if self.paper is None or paper(self.summary) else f"{self.summary} ({self.paper})"


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a component; `default` is its value as Python prints it, None where the option must be given."""

    name: str
    type: str
    default: str | None
    about: str


@dataclass(frozen=True, slots=True)
class Described:
    """A component with its options.

    Attributes:
        entry: its line.
        place: where a configuration names it.
        summary: first sentence of the component itself, which says what it computes.
        options: in the constructor's order.
        source: file of `configs/` that the example is of; empty for one of the docstring.
        example: YAML, or lines of a Python session.
    """

    entry: Entry
    place: str
    summary: str
    options: tuple[Option, ...]
    source: str
    example: str


def entries(kind: str) -> tuple[Entry, ...]:
    """Return the components of a kind by name; files are read, not imported, so this costs little."""
    return tuple(_entry(kind, name) for name in available(kind))


def chosen(word: str) -> tuple[Entry, ...]:
    """Return all components of a kind, or all that have a name.

    Args:
        word: a kind (``objectives``, ``data/views`` or ``views``), a name (``clip``), or both (``objectives/clip``).

    Raises:
        UserError: if it is none, with the nearest word.
    """
    kinds = [folder for folder in KINDS if word in (folder, folder.rpartition("/")[2])]
    if kinds:
        return tuple(entry for folder in kinds for entry in entries(folder))
    folder, _, name = word.rpartition("/")
    within = [kind for kind in KINDS if folder in ("", kind, kind.rpartition("/")[2])]
    found = tuple(_entry(kind, name) for kind in within if name in available(kind))
    if not found:
        known = {*KINDS, *(f"{folder}/{each}".lstrip("/") for kind in within for each in available(kind))}
        raise UserError(
            f"There is no kind or component named {word!r}: {did_you_mean(word, known)}; `medvlp components` lists all."
        )
    return found


def describe(kind: str, name: str) -> Described:
    """Import a component and return its options, defaults and an example."""
    target = component(kind, name)
    doc = inspect.cleandoc(target.__doc__ or "")  # its own: that of a parent is of another thing
    # What a component takes over from its parent is described there.
    parents = reversed(target.__mro__) if inspect.isclass(target) else ()
    about = {
        name: words for each in (*parents, target) for name, words in arguments(inspect.getdoc(each) or "").items()
    }
    options = tuple(
        Option(
            name=key,
            # The bounds stand in the field.
            type=_words(typing.Annotated[field.annotation, field]),  # pyrefly: ignore
            default=None if field.is_required() else repr(field.get_default()),
            about=about.get(key, ""),
        )
        for key, field in schema(kind, name).model_fields.items()
    )
    source, shown = _shipped(kind, name) or ("", example(doc))
    first = " ".join(doc.partition("\n\n")[0].split())
    return Described(_entry(kind, name), KINDS[kind].place, first, options, source, shown)


def _entry(kind: str, name: str) -> Entry:
    whole, own = _docs(kind, name)
    # A paper named anywhere else is of a detail.
    named = (whole.partition("\n\n")[0], own.partition("\n\n")[0], section(own, "References"))
    return Entry(kind, name, first_line(whole or own), paper("\n\n".join(named)))


@cache
def _docs(kind: str, name: str) -> tuple[str, str]:
    """Docstrings of a component's file and of the component."""
    spec = importlib.util.find_spec(f"medvlp.{kind.replace('/', '.')}")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    path = next((file for place in places if (file := Path(place) / f"{name}.py").is_file()), None)
    if path is None:  # another package's, by its entry point
        try:
            return "", inspect.cleandoc(component(kind, name).__doc__ or "")
        except Exception as error:  # whatever its code raises: all others are listed
            return "", f"Cannot be used: {error}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.ClassDef, ast.FunctionDef)
    named = next(iter(_all(tree)), None)
    public = [node for node in tree.body if isinstance(node, documented) and not node.name.startswith("_")]
    own = (node for node in public if named in (None, node.name))
    return ast.get_docstring(tree) or "", next((ast.get_docstring(node) or "" for node in own), "")


def _all(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []


_BOUNDS = (
    ("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"), ("min_length", "length at least"),
)  # fmt: skip


def _words(kind: Any, *, inside: bool = False) -> str:  # noqa: ANN401
    """A type in words, without the names that its module gives to others: values of a literal, bounds of a number."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " | ".join(map(repr, parts))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_words(part, inside=inside) for part in parts)
    if origin is typing.Annotated:
        rules = [rule for each in parts[1:] for rule in getattr(each, "metadata", ())]
        bounds = [f"{words} {getattr(rule, key)}" for rule in rules for key, words in _BOUNDS if hasattr(rule, key)]
        form = ("{} ({})" if inside else "{}, {}") if bounds else "{}"
        return form.format(_words(parts[0], inside=inside), ", ".join(bounds))
    if parts or isinstance(kind, list):  # a list is of what a Callable is called with
        return f"{origin.__name__ if origin else ''}[{', '.join(_words(p, inside=True) for p in parts or kind)}]"
    return {types.NoneType: "None", ...: "..."}.get(kind) or getattr(kind, "__name__", str(kind))


def _shipped(kind: str, name: str) -> tuple[str, str] | None:
    """The shortest use in a shipped configuration, one with options if there is any: its file, and YAML."""
    uses = [use for use in _uses() if use.name == name and re.fullmatch(KINDS[kind].path, use.path)]
    best = min(uses, key=lambda use: (use.bare, len(use.shown), use.file), default=None)
    return None if best is None else (best.file, best.shown)


@dataclass(frozen=True, slots=True)
class _Use:
    """Something that may be a component: in which file, where in it, its name, as YAML, whether without options."""

    file: str
    path: str
    name: str
    shown: str
    bare: bool


@cache
def _uses() -> tuple[_Use, ...]:
    folder = resource_folder("configs")
    found: list[_Use] = []
    for file in sorted(folder.rglob("*.yaml")):
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        found += _walk(tree, "", file.relative_to(folder).as_posix())
    return tuple(found)


def _walk(node: Any, path: str, file: str, *, listed: bool = False) -> Iterator[_Use]:  # noqa: ANN401
    key = path.rpartition(".")[2]
    if isinstance(node, list):
        for item in node:
            yield from _walk(item, path, file, listed=True)
    elif isinstance(node, str):
        yield _Use(file, path, node, _yaml(key, [node] if listed else node), True)
    elif isinstance(node, dict):
        named = isinstance(node.get("name"), str)
        name = node["name"] if named else key  # answers and measures are named by their key
        yield _Use(file, path, name, _yaml(key, [node] if listed else node), len(node) <= named)
        for under, value in node.items():
            yield from _walk(value, f"{path}.{under}" if path else str(under), file)


def _yaml(key: str, node: Any) -> str:  # noqa: ANN401
    return yaml.safe_dump({key: node}, sort_keys=False, default_flow_style=True, width=10_000).strip()[1:-1]

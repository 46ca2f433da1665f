"""A hook of mkdocs: the reference, made from the command line, the registry, the JSON Schema and the docstrings.

Nothing of it is stored: a page cannot be older than the code. Notebooks become pages here too.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from medvlp.cli.main import app
from medvlp.config.schema import config_schema
from medvlp.config.tree import RunConfig
from medvlp.core.components import KINDS, Described, describe, entries
from medvlp.core.methods import methods as known_methods

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files

__all__ = ["commands", "components", "configuration", "method_facts", "methods", "notebook", "on_files", "python"]

ROOT = Path(__file__).resolve().parents[2]
METHOD_FACTS = {
    "When": "When it helps in medicine",
    "Costs": "What it costs",
    "Claims": "What its paper reports",
    "Mind": "Mind",
}

# What a program may call, in the order of its page; each is shown with its docstring.
_PYTHON = {
    "Use a model": ["medvlp.answers.asking.model", "medvlp.serving.reader", "medvlp.core.map"],
    "Read files": [
        "medvlp.io.read",
        "medvlp.io.volume_read",
        "medvlp.io.image",
        "medvlp.io.volume",
        "medvlp.io.errors",
    ],
    "Read reports": ["medvlp.text.mentions", "medvlp.text.labels", "medvlp.text.sections"],
    "Write a method": ["medvlp.core.protocols", "medvlp.core.keys", "medvlp.core.encoded", "medvlp.core.context"],
    "Write an answer or a measure": ["medvlp.core.answers", "medvlp.core.predictions", "medvlp.evaluation.measure"],
    "Terms": ["medvlp.core.term"],
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and put a page in the place of each notebook."""
    from mkdocs.structure.files import File

    made = {
        "reference/commands.md": commands(),
        "reference/components.md": components(),
        "reference/configuration.md": configuration(),
        "reference/methods.md": methods(),
        "reference/python.md": python(),
    }
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            files.remove(file)
            text = Path(str(file.abs_src_path)).read_text(encoding="utf-8")
            # The page keeps the notebook's name, so that links to the file are links to the page.
            page = File.generated(config, file.src_uri, content=notebook(json.loads(text), Path(file.src_uri).name))
            _as_page(page)
            files.append(page)
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def commands() -> str:
    """Return every command with its help, as typer knows it."""
    lines = ["# Commands", "", "`medvlp COMMAND --help` prints the same.", ""]
    for words, command in _walk(typer.main.get_command(app), ("medvlp",)):
        context = command.context_class(command, info_name=words[-1])
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
        usage = " ".join([*words, *map(_argument, arguments), *(["[OPTIONS]"] if options else [])])
        usage += " COMMAND" if hasattr(command, "commands") else ""
        lines += [f"## {' '.join(words)}", "", _paragraph(command.help or ""), "", f"```text\n{usage}\n```", ""]
        records = [(_argument(each), each.get_help_record(context)[1]) for each in arguments]
        records += [each.get_help_record(context) for each in options]
        rows = [f"| `{_cell(name)}` | {_cell(meaning)} |" for name, meaning in records]
        if rows:
            lines += ["| | meaning, [default; allowed] |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def components() -> str:
    """Return every component by kind, with its options and an example."""
    lines = ["# Components", "", "What can be named in a configuration; `medvlp components` prints the same.", ""]
    for folder, kind in KINDS.items():
        lines += [f"## {folder}", "", f"{kind.what[0].upper()}{kind.what[1:]}. Named in: {kind.place}.", ""]
        for entry in entries(folder):
            lines += _component(describe(folder, entry.name))
    return "\n".join(lines)


def configuration() -> str:
    """Return the tree of a configuration: each key with its type, default and meaning, by the JSON Schema."""
    schema = config_schema()
    plain = RunConfig.model_json_schema()
    lines = ["# Configuration", "", "The keys of a YAML file that `medvlp train` takes; `medvlp train --schema` prints"]
    lines += ["the whole JSON Schema for an editor. Components have [pages of their own](components.md).", ""]
    for title, node in {"A run": plain, **plain["$defs"]}.items():
        told = _attributes(str(node.get("description", "")))
        fields = node.get("properties", {})
        if not fields:
            continue
        lines += [f"## {title}", "", _paragraph(str(node.get("description", "")).partition("\n\n")[0]), ""]
        lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        for key, field in fields.items():
            # A part's own defaults stand in its own table.
            default = json.dumps(field["default"]) if "default" in field and "$ref" not in field else ""
            about = told.get(key, "") or str(field.get("description", ""))
            cells = (f"`{key}`", _type(field), f"`{default}`" if default else "", about)
            lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
        lines.append("")
    lines += [f"The schema has {len(schema['$defs'])} definitions."]
    return "\n".join(lines)


def methods() -> str:
    """Return the table of all methods, and what the configurations of those on the common budget say at their head."""
    lines = ["# Methods", "", *_methods_table(), "## On one budget", ""]
    lines += [
        "Each of these is one configuration on one budget: the same synthetic hospital, towers, views and",
        "number of samples. `medvlp train compare/NAME.yaml` trains one, `medvlp sweep compare/phantom.yaml` all.",
        "",
    ]
    for path in sorted((ROOT / "configs" / "compare").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if path.stem != "phantom" and "\nbase: budget.yaml\n" in text:
            first, facts = method_facts(text)
            name, _, adds = first.partition(": ")
            lines += [f"### {name}", "", f"`compare/{path.name}`. {adds[:1].upper()}{adds[1:]}", ""]
            lines += [*(f"- **{words}**: {facts[word]}" for word, words in METHOD_FACTS.items()), ""]
    return "\n".join(lines)


def _methods_table() -> list[str]:
    """All methods by family: what they are made of, what trains them, how they were checked, what they gave here."""
    measured = any(each.gain is not None for each in known_methods())
    budget = "[one budget](../results/comparison.md)" if measured else "one budget"
    lines = [
        "`medvlp components --methods` prints the same. *Equations*: values equal a loop written from the paper, or",
        "its special cases. *Exact*: one process equals two, a batch equals its chunks, a resumed run equals one that",
        "was not stopped. *Small world*: whether it is ahead in a [made-up world](../results/method_toys.md) where its",
        "claim should show, over three seeds. *Library*: values equal those of another library. *Beside CLIP*:",
        f"zero-shot AUROC less CLIP's on {budget}, of synthetic patients; blank where it was not measured.",
        "",
    ]
    for family, found in itertools.groupby(known_methods(), lambda each: each.family):
        lines += [
            f"## {family}",
            "",
            "| method | made of | configuration | checked | beside CLIP |",
            f"|{' --- |' * 5}",
        ]
        for each in found:
            made = ", ".join(f"`{part}`" for part in each.parts) or f"not here: {each.absent}"
            name = f"{each.name} ({each.paper})" if each.paper else each.name
            gain = "" if each.gain is None else f"{each.gain:+.3f}"
            cells = (name, made, f"`{each.config}`" if each.config else "", ", ".join(each.checked), gain)
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
        lines.append("")
    return lines


def method_facts(text: str) -> tuple[str, dict[str, str]]:
    """Return what a configuration says at its head: its first sentence, and each of `METHOD_FACTS`."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    first, *rest = re.split(rf"\b({'|'.join(METHOD_FACTS)}): ", " ".join(line.lstrip("# ") for line in lines))
    return first.strip(), {name: said.strip() for name, said in zip(rest[::2], rest[1::2], strict=True)}


def python() -> str:
    """Return the page from which mkdocstrings makes the reference of the library."""
    lines = ["# Python", ""]
    for title, modules in _PYTHON.items():
        lines += [f"## {title}", ""]
        for module in modules:
            lines += [f"::: {module}", ""]
    return "\n".join(lines)


def notebook(document: Mapping[str, Any], name: str) -> str:
    """Return a notebook as Markdown: its words, and its code as blocks."""
    lines = []
    for cell in document["cells"]:
        source = "".join(cell["source"])
        lines += [source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```", ""]
    return "\n".join([*lines, f"*This page is the notebook `docs/notebooks/{name}`; a test runs it.*", ""])


def _as_page(file: File) -> None:
    """Let mkdocs take a file of another suffix for a page in Markdown."""
    file.__dict__.pop("dest_uri", None)
    file.is_documentation_page = lambda: True  # type: ignore[method-assign]
    stem = file.src_uri.removesuffix(".ipynb")
    file.dest_uri = f"{stem}/index.html"
    file.__dict__.pop("url", None)


# A newer typer brings a click of its own, an older one uses the package: neither is named here.
def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401
    if len(words) == 1 or not hasattr(command, "commands"):
        yield words, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _walk(each, (*words, name))


def _argument(each: Any) -> str:  # noqa: ANN401
    name = str(each.metavar or each.name.upper()).strip("[]")
    several = f"{name} ..." if each.nargs == -1 else name
    return several if each.required else f"[{several}]"


def _component(found: Described) -> list[str]:
    lines = [f"### {found.entry.name}", "", f"{found.entry.line()}. {found.summary}", ""]
    if found.options:
        lines += ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
        for each in found.options:
            default = "must be given" if each.default is None else f"`{_cell(each.default)}`"
            lines.append(f"| `{each.name}` | `{_cell(each.type)}` | {default} | {_cell(each.about)} |")
        lines.append("")
    if found.example:
        language = "yaml" if found.source else "python"
        source = f"From `configs/{found.source}`" if found.source else "Example"
        lines += [f"{source}:", "", f"```{language}\n{found.example}\n```", ""]
    return lines


def _attributes(doc: str) -> dict[str, str]:
    found = re.search(r"^Attributes:\n(.*?)(?=^\S|\Z)", doc, flags=re.MULTILINE | re.DOTALL)
    parts = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)", found[1] if found else "", re.MULTILINE | re.DOTALL)
    return {name: " ".join(words.split()) for name, words in parts}


def _type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{field['const']!r}`"
    if "enum" in field:
        return ", ".join(f"`{value!r}`" for value in field["enum"])
    if "anyOf" in field or "allOf" in field:
        return " or ".join(_type(each) for each in field.get("anyOf", field.get("allOf", [])))
    inner = field.get("items")
    return f"list of {_type(inner)}" if isinstance(inner, Mapping) and inner else str(field.get("type", "any"))


def _paragraph(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _paragraph(text).replace("|", "\\|")

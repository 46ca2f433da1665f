"""Components as words for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from medvlp.core.components import KINDS, Described, Entry
from medvlp.core.methods import Method


def list_words(entries: Sequence[Entry]) -> str:
    """Return one line for each component, grouped by kind, with where a configuration names that kind."""
    longest = max((len(entry.name) for entry in entries), default=0)
    lines: list[str] = []
    for folder in dict.fromkeys(entry.kind for entry in entries):
        kind = KINDS[folder]
        lines += ["", f"{folder}: {kind.what} ({kind.place})"]
        for entry in (each for each in entries if each.kind == folder):
            lines += wrapped(f"  {entry.name:<{longest}}  {entry.line()}", 120, " " * (longest + 4))
    return "\n".join(lines[1:])


def method_words(methods: Sequence[Method]) -> str:
    """Return one line for each method, by family: components, configuration, checks, gain on synthetic patients."""
    lines: list[str] = []
    for family in dict.fromkeys(each.family for each in methods):
        lines += ["", family]
        for each in (method for method in methods if method.family == family):
            name = f"{each.name} ({each.paper})" if each.paper else each.name
            known = [", ".join(each.parts) or f"not here: {each.absent}", each.config, ", ".join(each.checked)]
            known += [] if each.gain is None else [f"zero-shot AUROC {each.gain:+.3f} beside CLIP (synthetic)"]
            lines += wrapped(f"  {name}: {'; '.join(filter(None, known))}", 120, "    ")
    return "\n".join(lines[1:])


def component_words(described: Described) -> str:
    """Return a component's line, where it is named, its options and an example."""
    entry = described.entry
    lines = wrapped(f"{entry.kind}/{entry.name}: {entry.line()}", 110, "  ")
    lines += ["", *wrapped(described.summary, 110, "")] if described.summary else []
    lines += ["", f"Named in: {described.place}", "", "Options" if described.options else "No options."]
    for option in described.options:
        value = "must be given" if option.default is None else f"default {option.default}"
        lines += wrapped(f"  {option.name}: {option.type} ({value})", 110, " " * 6)
        lines += wrapped(f"      {option.about}", 110, " " * 6) if option.about else []
    if described.example:
        source = f"configs/{described.source}" if described.source else "its docstring"
        lines += ["", f"Example, from {source}", *textwrap.indent(described.example, "  ").splitlines()]
    return "\n".join(lines)


def wrapped(text: str, width: int, hanging: str) -> list[str]:
    """Return the lines of a text, all but the first behind `hanging`; no word is broken."""
    return textwrap.wrap(text, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)

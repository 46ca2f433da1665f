"""Reporting checklists filled from a run: each item of CLAIM 2024 and TRIPOD+AI, answered or "not reported"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.files import plain_yaml


@dataclass(frozen=True, slots=True)
class Item:
    """An item: its number, the part of a paper it belongs to, what it asks (our words), the fact that answers it."""

    number: str
    part: str
    asks: str
    fact: str


@dataclass(frozen=True, slots=True)
class Checklist:
    """A published checklist: name, full title, where it was published, items in its order."""

    name: str
    title: str
    source: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An item and its answer; None is "not reported"."""

    item: Item
    words: str | None


@cache
def checklists() -> tuple[Checklist, ...]:
    """Return the checklists that a page fills.

    Example:
        >>> [(each.name, len(each.items)) for each in checklists()]
        [('CLAIM 2024', 44), ('TRIPOD+AI', 52)]
    """
    text = (resources.files("medvlp.pages") / "checklists.yaml").read_text(encoding="utf-8")
    return tuple(
        Checklist(items=tuple(Item(str(number), *words) for number, *words in entry.pop("items")), **entry)
        for entry in yaml.safe_load(text)
    )


def fact_names() -> tuple[str, ...]:
    """Return the names of all facts that an item asks for, in the order of their first item."""
    return tuple(dict.fromkeys(item.fact for checklist in checklists() for item in checklist.items))


def answered(checklist: Checklist, facts: Mapping[str, str]) -> tuple[Answer, ...]:
    """Return every item with its answer; nothing is left out.

    Example:
        >>> found = answered(checklists()[0], {"funding": "None."})
        >>> found[-1].words, found[0].words, len(found)
        ('None.', None, 44)
    """
    return tuple(Answer(item, facts.get(item.fact) or None) for item in checklist.items)


# Facts that no checklist asks for and that model cards need.
EXTRA = ("name", "link", "licence", "authors", "contact", "version")


def read_study(path: Path) -> Mapping[str, str]:
    """Return the facts of a study file: name of a fact -> one or more sentences.

    Raises:
        ConfigError: if it is no YAML mapping of texts, or names a fact that no checklist asks for.
    """
    tree = plain_yaml(path, refused=ConfigError, mend="give lines of `fact: text`")
    if not isinstance(tree, Mapping):
        raise ConfigError(f"The study file {path} is not a mapping: give lines of `fact: text`.")
    known = (*EXTRA, *fact_names())
    for name, value in tree.items():
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ConfigError(f"The study file {path} names the fact {name!r}, which nothing asks for: {hint}.")
        if not isinstance(value, str | int | float) or isinstance(value, bool) or not str(value).strip():
            raise ConfigError(f"The fact {name!r} of the study file {path} is not a text: write one sentence or more.")
    return {str(name): " ".join(str(value).split()) for name, value in tree.items()}

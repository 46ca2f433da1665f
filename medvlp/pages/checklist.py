"""Reporting checklists filled from a run: each item of CLAIM 2024 and TRIPOD+AI, answered or "not reported"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

__all__ = ["Answer", "Checklist", "Item", "answered", "checklists", "fact_names"]


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
        Checklist(
            name=entry["name"],
            title=entry["title"],
            source=entry["source"],
            items=tuple(Item(str(number), part, asks, fact) for number, part, asks, fact in entry["items"]),
        )
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

"""What can be indexed or looked up: data sets that have a card, and layouts for anybody's own data."""

from __future__ import annotations

from dataclasses import dataclass

from medvlp.core.components import entries as layouts
from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.registry import available
from medvlp.data.cards import cards, load_card


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalogue.

    Attributes:
        name: what ``medvlp data info`` and ``index`` are given.
        modality: of its images, ``any`` for a general layout.
        access: as the card says, ``yours`` for a general layout.
        layout: what reads it; empty where nothing does yet.
        synthetic: whether nobody stands behind it.
    """

    name: str
    modality: tuple[str, ...]
    access: str
    title: str
    layout: str
    licence: str = ""
    synthetic: bool = False


def catalogue() -> tuple[Entry, ...]:
    """Return all data sets and general layouts, by name.

    Example:
        >>> {entry.name: entry.access for entry in catalogue() if entry.name in ("csv", "phantom")}
        {'csv': 'yours', 'phantom': 'generated'}
    """
    known = [load_card(name) for name in cards()]
    entries = [
        Entry(card.name, tuple(card.modality), card.access, card.title, card.layout, card.licence, card.synthetic)
        for card in known
    ]
    carded = {card.layout for card in known} | {card.name for card in known}
    for layout in layouts("data/layouts"):
        if layout.name not in carded:
            entries.append(Entry(layout.name, ("any",), "yours", layout.summary, layout.name))
    return tuple(sorted(entries, key=lambda entry: entry.name))


def layout_of(name: str) -> str:
    """Return the layout that reads a data set, named by itself or by its layout."""
    if name in available("data/layouts"):
        return name
    if name not in cards():
        known = sorted({*available("data/layouts"), *cards()})
        near = did_you_mean(name, known)
        raise ConfigError(f"There is no data set or layout named {name!r}: {near}; `medvlp data list` shows all.")
    layout = load_card(name).layout
    if not layout:
        raise ConfigError(
            f"{name} has a card, but no layout reads it: index its table with the layout csv, see `medvlp data list`."
        )
    return layout


def card_of(name: str) -> str | None:
    """Return the card of a data set or layout; None where there is none, or several data sets share the layout."""
    if name in cards():
        return name
    found = [card for card in cards() if load_card(card).layout == name]
    return found[0] if len(found) == 1 else None

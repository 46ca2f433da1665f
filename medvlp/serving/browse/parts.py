"""Components, configurations and data cards, as the command line tells them."""

from __future__ import annotations

import pandas as pd

from medvlp.core.component_words import component_words
from medvlp.core.components import KINDS, describe, entries
from medvlp.core.resources import resource, resource_folder
from medvlp.data.card_text import card_words, layout_words
from medvlp.data.catalogue import card_of, catalogue, layout_of


def component_table(kind: str) -> pd.DataFrame:
    """Return the components of a kind: name and line."""
    rows = [(entry.name, entry.line()) for entry in entries(kind)]
    return pd.DataFrame(rows, columns=pd.Index(["name", KINDS[kind].what]))


def component_told(kind: str, name: str) -> str:
    """Return what `medvlp components` prints of one."""
    return component_words(describe(kind, name))


def configurations() -> list[str]:
    """Return the shipped configurations by their names."""
    folder = resource_folder("configs")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))


def configuration(name: str) -> str:
    """Return one as it is written."""
    return resource("configs", name).read_text("utf-8")


def data_table() -> pd.DataFrame:
    """Return what can be indexed: a row a data set."""
    rows = [(each.name, ", ".join(each.modality), each.access, each.licence, each.title) for each in catalogue()]
    return pd.DataFrame(rows, columns=pd.Index(["name", "modality", "access", "licence", "title"]))


def data_told(name: str) -> str:
    """Return what `medvlp data info` prints of a data set."""
    card = card_of(name)
    return card_words(card) if card is not None else layout_words(layout_of(name))

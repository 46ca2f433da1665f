"""A data card as words: its facts for a terminal, and the sections of its prose."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medvlp.core.component_words import wrapped
from medvlp.core.components import describe
from medvlp.core.resources import resource
from medvlp.data.cards import Count, SplitFacts, load_card
from medvlp.data.reproduction import reproduction_words

_SHOWN = ("traps", "subgroups", "what not to conclude")
_INDENT = "  "


def prose(name: str) -> dict[str, str]:
    """Return the sections of a card's prose in their order, by heading; the first, without a heading, under ""."""
    text = resource("data_cards", f"{name}.md").read_text("utf-8").split("---\n", 2)[2]
    first, *rest = re.split(r"^## +", text, flags=re.MULTILINE)
    sections = {"": re.sub(r"\A\s*# .*\n", "", first).strip()}
    for part in rest:
        heading, _, body = part.partition("\n")
        sections[heading.strip()] = body.strip()
    return sections


def card_words(name: str, *, width: int = 100) -> str:
    """Return a card's facts, each count with its source and each split with its flaw, and the traps of its prose."""
    card = load_card(name)
    lines = [card.title, "=" * len(card.title)]
    lines += ["Synthetic: nobody stands behind these data."] if card.synthetic else []
    facts = {
        "modality": ", ".join(card.modality),
        "access": card.access,
        "licence": card.licence,
        "source": card.source,
        "cite": card.cite,
        "labels": ", ".join(key if key == own else f"{key} ({own})" for key, own in card.labels.items()),
        "overlaps": ", ".join(card.overlaps),
        "layout": card.layout,
    }
    for key, value in facts.items():
        lines += wrapped(f"{key:<10}{value}", width, " " * 10) if value else []
    lines += ["", "Counts", *_counts(card.counts, width)] if card.counts else []
    lines += ["", "Splits", *_splits(card.splits, width)] if card.splits else []
    claims = [line for claim in reproduction_words(name) for line in wrapped(_INDENT + claim, width, _INDENT * 2)]
    lines += ["", "Published (sources: data_cards/reproduction)", *claims] if claims else []
    if card.layout:
        lines += ["", layout_words(card.layout, width=width)]
    for heading, body in prose(name).items():
        if heading.lower() in _SHOWN:
            lines += ["", heading, *_paragraphs(body, width)]
    return "\n".join(lines)


def layout_words(name: str, *, width: int = 100) -> str:
    """Return what a layout reads, how it is used and what its options are."""
    found = describe("data/layouts", name)
    lines = [*wrapped(f"{found.entry.summary}.", width, ""), "", "Index it with"]
    lines += [f"{_INDENT}medvlp data index {name} ROOT --out manifest.parquet [key=value ...]"]
    # The command gives the number of processes itself.
    options = [each for each in found.options if each.name != "workers"]
    lines += ["Options"] if options else []
    for each in options:
        default = "" if each.default is None else f" (default {each.default})"
        lines += wrapped(f"{_INDENT}{each.name}: {each.about}{default}", width, _INDENT * 2)
    return "\n".join(lines)


def _counts(counts: list[Count], width: int) -> Iterator[str]:
    what = max(len(count.what) for count in counts)
    split = max(len(count.split) for count in counts)
    value = max(len(f"{count.value:,}") for count in counts)
    for count in counts:
        split_column = f"{count.split:<{split}}  " if split else ""
        head = f"{_INDENT}{count.what:<{what}}  {split_column}{count.value:>{value},}  "
        yield from wrapped(head + count.source, width, " " * len(head))


def _splits(splits: dict[str, SplitFacts], width: int) -> Iterator[str]:
    name = max(len(key) for key in splits)
    rules = {
        "column": "a column of the release",
        "lists": "lists of the release",
        "ids": "your list of ids",
        "fractions": "drawn by a rule",
        "none": "the release has none",
    }
    for key, facts in splits.items():
        head = f"{_INDENT}{key:<{name}}  "
        line = f"{facts.title} ({rules[facts.rule]}, by {facts.unit}; source: {facts.source})"
        yield from wrapped(head + line, width, " " * len(head))
        if facts.flaw:
            yield from wrapped(f"{' ' * len(head)}FLAW: {facts.flaw}", width, " " * len(head))


def _paragraphs(body: str, width: int) -> Iterator[str]:
    """Re-wrap paragraphs and list items; tables stay as they are."""
    for block in re.split(r"\n\s*\n|\n(?=- )", body):
        if block.lstrip().startswith(("|", "```")):
            yield from (_INDENT + line for line in block.splitlines())
        elif not block.lstrip().startswith("<!--"):
            words = " ".join(block.split()).replace("**", "")
            hanging = _INDENT * 2 if words.startswith("- ") else _INDENT
            yield from wrapped(_INDENT + words, width, hanging)

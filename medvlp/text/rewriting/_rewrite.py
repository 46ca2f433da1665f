"""All ways of rewriting a report, one after another, each optional."""

from __future__ import annotations

import re
from collections import Counter
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from medvlp.text.rewriting.exchange import load_table, reword, turn_sentences
from medvlp.text.rewriting.order import reorder_sections, reorder_sentences
from medvlp.text.sections import report_sentences, split_sections

if TYPE_CHECKING:
    import torch

_HERE = Path(__file__).parent


def rewrite(
    text: str,
    generator: torch.Generator,
    *,
    synonyms: float = 0.5,
    abbreviations: float = 0.25,
    sentences: bool = True,
    sections: bool = True,
) -> str:
    """Say a report in other words and another order: findings, negation, side, severity and numbers stay.

    Rewrites of captions as views of one picture are due to Fan et al. (LaCLIP, NeurIPS 2023), who let a language model
    write them; rules over closed tables cannot invent a finding. What they change is proven by reading the result back
    (`rewriting.meaning`).

    Args:
        text: a report or any part of one.
        generator: what is drawn is a function of its state alone: the same state gives the same text.
        synonyms: probability that a phrase or sentence of the tables is exchanged for another of the same meaning.
        abbreviations: probability that an abbreviation is written out, or that words are abbreviated.
        sentences: draw another order of the sentences of each section.
        sections: draw another order of the sections.

    Returns:
        str: the rewritten text; the text itself where a change would break its sections.

    Example:
        >>> import torch
        >>> text = "No pulmonary nodule. RLL atelectasis."
        >>> rewrite(text, torch.Generator().manual_seed(2), synonyms=1, abbreviations=1)
        'Right lower lobe atelectasis. No lung nodule.'
    """
    changed = _unwrapped(text)
    changed = turn_sentences(changed, generator, rate=synonyms) if synonyms else changed
    changed = reword(changed, load_table(_HERE / "synonyms.yaml"), generator, rate=synonyms) if synonyms else changed
    if abbreviations:
        changed = reword(changed, load_table(_HERE / "abbreviations.yaml"), generator, rate=abbreviations)
    changed = reorder_sentences(changed, generator) if sentences else changed
    changed = reorder_sections(changed, generator) if sections else changed
    return changed if sorted(split_sections(changed)) == sorted(split_sections(text)) else text


def _unwrapped(text: str) -> str:
    """Return the text with the line breaks inside sentences made spaces: another word may not fit the line."""
    parts: list[str] = []
    done = 0
    for first, last in report_sentences(text):
        if "\n" in text[first:last]:
            parts += [text[done:first], " ".join(text[first:last].split())]
            done = last
    return "".join([*parts, text[done:]])


_NUMBER = re.compile(r"\d+(?:[.,/:-]\d+)*")
_LIST_MARK = re.compile(r"(?:^|\n)[ \t]*\(?\d{1,2}[.)](?=\s)")
_SIDE_WORDS = re.compile(
    r"\b(?P<left>left|lt\b|l(?=ul\b|ll\b)|l\b(?!/))|\b(?P<right>right|rt\b|r(?=ul\b|ml\b|ll\b)|r\b(?!/))"
    r"|\b(?P<both>bilateral|bilat\b|both)",
    re.IGNORECASE,
)


def numbers_of(text: str) -> Counter[str]:
    """Return how often each number, measure and date stands in a text, list marks left out.

    Example:
        >>> numbers_of("1. A 1.2 cm nodule, seen on 03/04/2019.")
        Counter({'1.2': 1, '03/04/2019': 1})
    """
    return Counter(_NUMBER.findall(_LIST_MARK.sub("\n", text)))


def sides_of(text: str) -> Counter[str]:
    """Return how often left, right and both are said, abbreviations included.

    Example:
        >>> sides_of("RLL opacity, left-sided effusion, clear on both sides.")
        Counter({'right': 1, 'left': 1, 'both': 1})
    """
    return Counter(match.lastgroup or "" for match in _SIDE_WORDS.finditer(text))


def same_meaning(before: str, after: str) -> bool:
    """Whether two texts say the same of the same findings, with the same numbers and sides.

    Findings with presence, place, severity, count and change are read by `medvlp.text.mentions.read_report`; numbers
    and words of side are counted in the whole text. Order and wording do not matter.

    Example:
        >>> same_meaning("No lung nodule. Left effusion.", "Left pleural effusion. No pulmonary nodule.")
        True
        >>> same_meaning("Left effusion.", "Right effusion.")
        False
    """
    if numbers_of(before) != numbers_of(after) or sides_of(before) != sides_of(after):
        return False
    return _read(before) == _read(after)


def _read(text: str) -> Counter[tuple[object, ...]]:
    from medvlp.text.mentions import read_report

    facts = ("finding", "presence", "side", "anatomy", "severity", "size_mm", "count", "change", "section")
    return Counter(map(attrgetter(*facts), read_report(text)))

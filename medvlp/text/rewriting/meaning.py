"""What a rewrite must keep: what is read in it, its numbers, and its words of side."""

from __future__ import annotations

import re
from collections import Counter

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

    Findings with presence, side, severity, count and change are read by `medvlp.text.mentions.read_report`; numbers and
    words of side are counted in the whole text. Order and wording do not matter.

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

    return Counter(
        (each.finding, each.presence, each.side, each.severity, each.size_mm, each.count, each.change, each.section)
        for each in read_report(text)
    )

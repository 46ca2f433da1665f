"""The words that name a side of the patient, and the word for the other one."""

from __future__ import annotations

import re

_PAIRS = (
    ("left", "right"), ("lt", "rt"), ("l", "r"), ("lul", "rul"), ("lll", "rll"), ("luz", "ruz"), ("lmz", "rmz"),
    ("llz", "rlz"), ("lij", "rij"), ("lue", "rue"), ("lle", "rle"), ("lao", "rao"), ("lpo", "rpo"), ("levo", "dextro"),
)  # fmt: skip
_OTHER = {**dict(_PAIRS), **{right: left for left, right in _PAIRS}}
_LEFT = frozenset(left for left, _ in _PAIRS)
# Single letters are sides before a word in small letters ("R lung", "L-sided", "L to R") or in a comparison ("L>R"),
# but not in "R/O", "L spine" or an initial.
_LETTER = r"(?<![\w/&'’.-])[LR](?=\s+(?!spine\b)[a-z]|-sided\b|\s*[<>])|(?<=[<>])\s?[LR](?!\w)"
_ABBREVIATIONS = "|".join(word.upper() for pair in _PAIRS[3:-1] for word in pair)

SIDE_WORD = re.compile(
    rf"\b(?i:left|right)(?=\b|ward)|\b(?i:lt|rt)\b|\b(?:{_ABBREVIATIONS})\b"
    rf"|\b(?i:levo|dextro)(?=(?i:-?(?:scolio|convex|curv|rotat)))|{_LETTER}"
)


def opposite(word: str) -> str:
    """Return the word for the other side of what `SIDE_WORD` found, in the same letters.

    Example:
        >>> [opposite(word) for word in ("Left", "RIGHT", "RLL", "dextro", "L")]
        ['Right', 'LEFT', 'LLL', 'levo', 'R']
    """
    bare = word.strip()
    other = _OTHER[bare.lower()]
    turned = other.upper() if bare.isupper() else other.capitalize() if bare[0].isupper() else other
    return word.replace(bare, turned)


def side_of(word: str) -> str:
    """Return ``"left"`` or ``"right"`` for what `SIDE_WORD` found.

    A curve of the spine is called by the side of its convexity.

    Example:
        >>> side_of("RLL"), side_of("levo")
        ('right', 'left')
    """
    return "left" if word.strip().lower() in _LEFT else "right"

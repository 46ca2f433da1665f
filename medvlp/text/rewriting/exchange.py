"""The exchange of phrases for others of the same meaning."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from medvlp.text.rewriting.tables import TOKEN, Phrase, Table

if TYPE_CHECKING:
    import torch

__all__ = ["reword"]

_ARTICLE = re.compile(r"\b(?:a|an)(?=\s+$)", re.IGNORECASE)
_SENTENCE_START = re.compile(r"(?:^|[.?!:]\s+|\n\s*|(?:^|\s)(?:\d{1,2}[.)]|[-*•])\s+)$")
_HEADER_BEHIND = re.compile(r"[ \t]*(?::|[ \t][-–—]\s|$|\n)")
_ABBREVIATED_VOWELS = frozenset("AEFHILMNORSX")  # letters whose names begin with a vowel


def reword(text: str, table: Table, generator: torch.Generator, *, rate: float = 0.5) -> str:
    """Exchange phrases of a text for others of their set, each with the given probability.

    Capitals follow the place (a sentence begins with one, a line of capitals stays one), ``a`` and ``an`` the word that
    comes to stand behind them. Section headers stay.

    Args:
        text: a report or any part of one.
        table: from `load_table`.
        generator: what is drawn is a function of its state alone.
        rate: probability that one phrase is exchanged.

    Example:
        >>> import torch
        >>> table = Table({"ett": (Phrase(re.compile("ETT"), ("endotracheal tube",), None, None, None, None),)})
        >>> reword("An ETT is seen.", table, torch.Generator(), rate=1.0)
        'An endotracheal tube is seen.'
    """
    import torch

    places = _found(text, table)
    if not places:
        return text
    chances, choices = torch.rand(2, len(places), generator=generator).tolist()
    parts: list[str] = []
    done = 0
    for (start, end, phrase), chance, choice in zip(places, chances, choices, strict=True):
        if chance >= rate:
            continue
        other = phrase.others[int(choice * len(phrase.others))]
        parts.append(_with_article(text[done:start], other))
        parts.append(_cased(text, start, end, other))
        done = end
    return "".join([*parts, text[done:]])


def _found(text: str, table: Table) -> list[tuple[int, int, Phrase]]:
    """Return the phrases that may be exchanged, from left to right, none overlapping another."""
    places: list[tuple[int, int, Phrase]] = []
    end = 0
    for token in TOKEN.finditer(text):
        start = token.start()
        if start < end or (start and (text[start - 1].isalnum() or text[start - 1] in "-/'")):
            continue
        for phrase in table.phrases.get(token[0].lower(), ()):
            match = phrase.pattern.match(text, start)
            if match is not None:
                end = match.end()
                if not _is_header(text, start, end) and phrase.fits(text, start, end):
                    places.append((start, end, phrase))
                break  # the longest one decides: a part of it means something else
    return places


def _is_header(text: str, start: int, end: int) -> bool:
    """Whether a phrase is the title of a section: it begins a line and a colon, a dash or the line's end follows."""
    line = text[text.rfind("\n", 0, start) + 1 : start]
    behind = _HEADER_BEHIND.match(text, end)
    return text[end : end + 1] == ":" or (not line.strip(" \t*#_0123456789.)") and behind is not None)


def _cased(text: str, start: int, end: int, phrase: str) -> str:
    before = text[start:end]
    line = text[text.rfind("\n", 0, start) + 1 : (text.find("\n", end) + 1 or len(text) + 1) - 1]
    if line.isupper() and len(line) > end - start:
        return phrase.upper()
    if before[0].isupper() and (_SENTENCE_START.search(text[max(0, start - 8) : start]) or before.istitle()):
        return phrase[0].upper() + phrase[1:]
    return phrase


def _with_article(before: str, phrase: str) -> str:
    """Return what stands before a phrase, its indefinite article agreeing."""
    article = _ARTICLE.search(before)
    if article is None:
        return before
    word = phrase.split()[0]
    abbreviated = word.isupper() and word not in ("PICC",)  # spoken as a word
    vowel = word[0] in _ABBREVIATED_VOWELS if abbreviated else word[0].lower() in "aeiou" and word[:3] != "uni"
    spelled = "an" if vowel else "a"
    if article[0][0] == "A":
        spelled = spelled.upper() if article[0] == "AN" else spelled.capitalize()
    return before[: article.start()] + spelled + before[article.end() :]

"""The exchange of phrases for others of the same meaning, by tables that are data.

A table is YAML, one entry a set of phrases::

    - same: [pulmonary nodule, lung nodule]        # each for each other
    - {from: [SOB], to: [shortness of breath]}     # one way: the left one would be ambiguous as a result
    - same: [pleural effusion, pleural fluid]
      after: [no, evidence of]                     # only behind one of these words; also before, not_after, not_before

A phrase with a capital letter is matched as it is written (``ET tube``), any other in every case. In a context ``#``
stands for a digit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import yaml

from medvlp.text.sentences import indefinite, sentence_spans

if TYPE_CHECKING:
    import torch

_TOKEN = re.compile(r"[A-Za-z]+(?:[/-][A-Za-z]+)*")
_CONTEXTS = ("after", "not_after", "before", "not_before")
_NEAR = 48  # characters: no context is longer

_ARTICLE = re.compile(r"\b(?:a|an)(?=\s+$)", re.IGNORECASE)
_SENTENCE_START = re.compile(r"(?:^|[.?!:]\s+|\n\s*|(?:^|\s)(?:\d{1,2}[.)]|[-*•])\s+)$")
_HEADER_BEHIND = re.compile(r"[ \t]*(?::|[ \t][-–—]\s|$|\n)")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase and what may stand for it; where given, `after` must stand before it and `before` must follow."""

    pattern: re.Pattern[str]
    others: tuple[str, ...]
    after: re.Pattern[str] | None
    not_after: re.Pattern[str] | None
    before: re.Pattern[str] | None
    not_before: re.Pattern[str] | None

    def fits(self, text: str, start: int, end: int) -> bool:
        """Whether what stands around the phrase allows another one."""
        behind, ahead = text[max(0, start - _NEAR) : start], text[end : end + _NEAR]
        return (
            (self.after is None or self.after.search(behind) is not None)
            and (self.not_after is None or self.not_after.search(behind) is None)
            and (self.before is None or self.before.match(ahead) is not None)
            and (self.not_before is None or self.not_before.match(ahead) is None)
        )


Table: TypeAlias = Mapping[str, tuple[Phrase, ...]]
"""Phrases by their first word, longest first."""


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
        >>> table = {"ett": (Phrase(re.compile("ETT"), ("endotracheal tube",), None, None, None, None),)}
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
        parts.append(_with_article(text[done:start], other, capitals=_line(text, start, end).isupper()))
        parts.append(_cased(text, start, end, other))
        done = end
    return "".join([*parts, text[done:]])


def _found(text: str, table: Table) -> list[tuple[int, int, Phrase]]:
    """Return the phrases that may be exchanged, from left to right, none overlapping another."""
    places: list[tuple[int, int, Phrase]] = []
    end = 0
    for token in _TOKEN.finditer(text):
        start = token.start()
        if start < end or (start and (text[start - 1].isalnum() or text[start - 1] in "-/'")):
            continue
        for phrase in table.get(token[0].lower(), ()):
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


def _line(text: str, start: int, end: int) -> str:
    return text[text.rfind("\n", 0, start) + 1 : (text.find("\n", end) + 1 or len(text) + 1) - 1]


def _cased(text: str, start: int, end: int, phrase: str) -> str:
    before, line = text[start:end], _line(text, start, end)
    if line.isupper() and len(line) > end - start:
        return phrase.upper()
    if before[0].isupper() and (_SENTENCE_START.search(text[max(0, start - 8) : start]) or before.istitle()):
        return phrase[0].upper() + phrase[1:]
    return phrase


def _with_article(before: str, phrase: str, *, capitals: bool) -> str:
    """Return what stands before a phrase, its indefinite article agreeing, in a line of capitals in these."""
    article = _ARTICLE.search(before)
    if article is None:
        return before
    spelled = indefinite(phrase)
    if article[0][0] == "A":
        spelled = spelled.upper() if capitals else spelled.capitalize()
    return before[: article.start()] + spelled + before[article.end() :]


@cache
def load_table(path: Path) -> Table:
    """Read a table of phrases."""
    found: dict[str, list[tuple[str, Phrase]]] = {}
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        contexts = [_context(entry[name], ahead="before" in name) if name in entry else None for name in _CONTEXTS]
        for phrase in entry.get("same") or entry["from"]:
            others = tuple(other for other in entry.get("same") or entry["to"] if other != phrase)
            made = Phrase(_finder(phrase), others, *contexts)
            found.setdefault(_TOKEN.findall(phrase)[0].lower(), []).append((phrase, made))
    by_length = {word: sorted(pairs, key=lambda pair: len(pair[0]), reverse=True) for word, pairs in found.items()}
    return {word: tuple(each for _, each in pairs) for word, pairs in by_length.items()}


def _words(phrase: str) -> str:
    return re.escape(phrase).replace(r"\ ", r"\s+").replace(r"\#", r"\d")


def _finder(phrase: str) -> re.Pattern[str]:
    flags = 0 if any(letter.isupper() for letter in phrase) else re.IGNORECASE
    return re.compile(_words(phrase) + r"(?![\w'])(?!-\w)(?!/\w)", flags)


def _context(phrases: Sequence[str], *, ahead: bool) -> re.Pattern[str]:
    any_of = "|".join(_words(phrase) for phrase in phrases)
    if not ahead:
        return re.compile(rf"(?<!\w)(?:{any_of})\s+$", re.IGNORECASE)
    pattern = rf"(?:{any_of})(?!\w)"
    return re.compile(rf"\s*(?:{pattern}|\d)" if "#" in phrases else rf"\s*{pattern}", re.IGNORECASE)


_FILE = Path(__file__).with_name("sentence_turns.yaml")
# What {x} is not: anything with a verb of its own, a second denial or a subordinate clause.
_NO_PHRASE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|be|been|there|no|not|but|which|that|to|than|as|longer|seen|identified|noted"
    r"|present|may|can|cannot|could|with|without|since|from|compared)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Turn:
    pattern: re.Pattern[str]
    others: tuple[str, ...]


def turn_sentences(text: str, generator: torch.Generator, *, rate: float = 0.5) -> str:
    """Say sentences of known form in another form of the same meaning, each with the given probability.

    Args:
        text: a report or any part of one.
        generator: what is drawn is a function of its state alone.
        rate: probability that one sentence is turned.

    Example:
        >>> import torch
        >>> turn_sentences("Normal heart size. No nodule is seen.", torch.Generator().manual_seed(1), rate=1.0)
        'The heart is normal in size. No nodule.'
    """
    import torch

    places = [(span, turn, match) for span in sentence_spans(text) for turn, match in _turns_of(text[slice(*span)])]
    if not places:
        return text
    chances, choices = torch.rand(2, len(places), generator=generator).tolist()
    for ((start, end), turn, match), chance, choice in reversed(list(zip(places, chances, choices, strict=True))):
        if chance < rate:
            other = turn.others[int(choice * len(turn.others))].replace("{x}", match["x"] or "")
            text = text[:start] + other + text[end:]
    return text


def _turns_of(sentence: str) -> list[tuple[_Turn, re.Match[str]]]:
    for turn in _turns():
        match = turn.pattern.fullmatch(sentence)
        if match is not None and _is_phrase(match["x"]):
            return [(turn, match)]
    return []


def _is_phrase(words: str) -> bool:
    """Whether words are a noun phrase or a list of some, the last joined by "or" or "and"; nothing is one too."""
    return not _NO_PHRASE.search(words) and ("," not in words or re.search(r"\b(?:or|and)\b", words) is not None)


@cache
def _turns() -> tuple[_Turn, ...]:
    turns: list[_Turn] = []
    for entry in yaml.safe_load(_FILE.read_text(encoding="utf-8")):
        forms = entry.get("same") or entry["from"]
        for form in forms:
            others = tuple(entry["to"]) if "to" in entry else tuple(other for other in forms if other != form)
            words = re.escape(form).replace(r"\ ", r"\s+").replace(r"\{x\}", r"(?P<x>[^.;:()]{3,90}?)")
            turns.append(_Turn(re.compile(words if "{x}" in form else rf"{words}(?P<x>)"), others))
    return tuple(turns)

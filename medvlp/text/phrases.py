"""Phrases in a small notation, found in prose word by word: the machinery of the lexicon and of the assertion cues.

One phrase a line::

    [small] (pleural|pericardial) effusion      [may be there], (one|of these)
    heart .. enlarged                           up to five words between, none of them ending a clause
    heart ... normal                            up to ten words between, commas and "and" among them

Words are compared in a plain form: lower case, American spelling, singular. Looking up is a walk through a tree of
words, so a thousand phrases cost no more than ten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
_Left: TypeAlias = tuple[tuple[tuple[str, ...], ...], ...]  # of a line, part by part: the words of every reading

_TOKEN = re.compile(
    r"\[[ xX]*\]|(?<!\S)-ve\b|(?<![\w/])(?:[lr]t?|mod)\.(?=\s+(?-i:[a-z]))|(?<!\S)vs\."
    r"|(?<![\w/])(?:[wc]/[ow]|b/l|[lr]/[lr])(?![\w/])|(?<=\s)\([lr]\)"
    r"|(?<![\w.])\.\d+|\d+(?:\.\d+)?|[^\W\d_]+(?:\xad++[^\W\d_]+)*+(?:['’](?:t|s|re|ve)|\(e?s\))?|_+|[^\w\s\[\]]",
    re.IGNORECASE,
)
_IRREGULAR = {
    "apices": "apex", "atelectases": "atelectasis", "bronchi": "bronchus", "bronchiectases": "bronchiectasis",
    "bullae": "bulla", "can't": "cannot", "cant": "cannot", "diagnoses": "diagnosis", "foci": "focus",
    "hemithoraces": "hemithorax", "hila": "hilum", "metastases": "metastasis", "pneumothoraces": "pneumothorax",
    "pneumothoracies": "pneumothorax", "vertebrae": "vertebra", "vs": "versus", "w": "with", "w/o": "without",
    "c/w": "consistent", "sulci": "sulcus", "nil": "no", "fx": "fracture",
    "b/l": "bilateral", "[ ]": "unticked", "[]": "unticked", "[x]": "ticked", "☐": "unticked", "☑": "ticked",
    "☒": "ticked", "-ve": "negative", "lt.": "lt",
    "rt.": "rt", "l.": "lt", "r.": "rt", "(l)": "left", "(r)": "right", "l/r": "bilateral", "r/l": "bilateral",
    "vs.": "versus", "mod": "moderate", "mod.": "moderate", "sml": "small", "sm": "small", "lge": "large",
    "sizeable": "sizable",
    # British
    "centre": "center", "characterised": "characterized", "favour": "favor", "favoured": "favored",
    "favouring": "favoring", "fibre": "fiber", "generalised": "generalized", "localised": "localized",
    "oedema": "edema", "oedematous": "edematous", "oesophageal": "esophageal", "oesophagus": "esophagus",
    "recognised": "recognized", "tumour": "tumor", "tumours": "tumor", "visualised": "visualized",
}  # fmt: skip
_WRITTEN_OUT = {  # abbreviations that are several words: each gets the abbreviation's place
    "rul": ("right", "upper", "lobe"), "rml": ("right", "middle", "lobe"), "rll": ("right", "lower", "lobe"),
    "lul": ("left", "upper", "lobe"), "lll": ("left", "lower", "lobe"), "ruz": ("right", "upper", "zone"),
    "rmz": ("right", "mid", "zone"), "rlz": ("right", "lower", "zone"), "luz": ("left", "upper", "zone"),
    "lmz": ("left", "mid", "zone"), "llz": ("left", "lower", "zone"), "ctr": ("cardiothoracic", "ratio"),
    "wnl": ("within", "normal", "limit"),
}  # fmt: skip
_KEEP = frozenset(
    ("is", "was", "has", "this", "us", "as", "does", "its", "lens", "chest", "always", "perhaps", "less", "whereas")
)
_SHORT_GAP, _LONG_GAP = 5, 10
_ENDS_SHORT = frozenset(
    (",", ";", ".", "(", ")", "and", "or", "but", "with", "without", "however", "no", "normal", "clear", "than")
)
_ENDS_LONG = frozenset(
    (";", ".", "but", "however", "no", "not", "without", "except", "although", "while", "with", "than", "show")
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word or mark in its plain form, and where its characters start and end in the text."""

    word: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A phrase that was found.

    Attributes:
        values: what the phrase stands for.
        at: places of its words among the tokens, gaps left out.
    """

    values: tuple[T, ...]
    at: tuple[int, ...]

    @property
    def first(self) -> int:
        """Place of its first word."""
        return self.at[0]

    @property
    def last(self) -> int:
        """Place of its last word."""
        return self.at[-1]


@cache
def plain(word: str) -> str:
    """Return the form in which words are compared."""
    word = word.lower().replace("’", "'").replace("\xad", "").replace("haem", "hem")  # \xad: a line may break there
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    word = word.removesuffix("'s").removesuffix("(s)").removesuffix("(es)")
    if word in _KEEP or len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1]


def tokens_of(text: str) -> tuple[Token, ...]:
    """Return words, numbers and marks; a hyphen inside a word only parts it; "isn't" and lobes are written out."""
    tokens = []
    for match in _TOKEN.finditer(text):
        mark = match[0]
        if mark in "-–—":
            before, after = match.start(), match.end()
            if before and after < len(text) and text[before - 1].isalnum() and text[after].isalnum():
                continue
        word = plain(mark)
        if word.endswith("n't"):  # "isn't"
            tokens += [Token(plain(word[:-3]), match.start(), match.end()), Token("not", match.start(), match.end())]
            continue
        tokens += [Token(each, match.start(), match.end()) for each in _WRITTEN_OUT.get(word, (word,))]
    return tuple(tokens)


def _parts(line: str) -> Iterator[str]:
    """Yield what blanks part outside of brackets; a line without brackets is one part."""
    part, depth = "", 0
    for sign in line if "[" in line or "(" in line else [line]:
        depth = max(0, depth + (sign in ("[", "(")) - (sign in ("]", ")")))
        part += sign
        if sign.isspace() and not depth:
            yield part
            part = ""
    yield part


def _choices(part: str) -> set[tuple[str, ...]]:
    """Return the plain words of every reading of a part of a line, no words where it may be left out."""
    inner = re.search(r"\[([^\[\]()]*)\]|\(([^\[\]()]*)\)", part)
    if inner is None:
        return {tuple(word if set(word) == {"."} else plain(word) for word in part.replace("-", " ").split())}
    options = ["", *inner[1].split("|")] if inner[2] is None else inner[2].split("|")
    return set().union(*(_choices(part[: inner.start()] + each + part[inner.end() :]) for each in options))


def _steps(left: _Left) -> Iterator[tuple[str, _Left]]:
    """Yield each word that may come next in a line, and what is left behind it."""
    for place, choices in enumerate(left, start=1):
        yield from ((words[0], ((words[1:],), *left[place:])) for words in choices if words)
        if () not in choices:
            return


def longest(found: Iterable[Found[T]]) -> list[Found[T]]:
    """Return phrases in the order of their first words, the longest where two share a word."""
    used: set[int] = set()
    chosen: list[Found[T]] = []
    for each in sorted(found, key=lambda each: (-len(each.at), each.last - each.first, each.first)):
        if used.isdisjoint(each.at):
            used.update(each.at)
            chosen.append(each)
    return sorted(chosen, key=lambda each: each.at)


@dataclass
class _Node(Generic[T]):
    """A place that words lead to, by what lines have left there: laid out when a sentence comes by, as few ever do."""

    lines: dict[tuple[_Left, T], None] = field(default_factory=dict)

    @cached_property
    def following(self) -> dict[str, _Node[T]]:
        nodes: dict[str, _Node[T]] = {}
        for left, value in self.lines:
            for word, then in _steps(left):
                nodes.setdefault(word, _Node()).lines[then, value] = None
        return nodes

    @cached_property
    def values(self) -> tuple[T, ...]:
        return tuple(dict.fromkeys(value for left, value in self.lines if all(() in choices for choices in left)))


class Phrases(Generic[T]):
    """A set of phrases, each with what it stands for.

    Args:
        lines: (line of the notation, value). One phrase may stand for several values.
    """

    def __init__(self, lines: Iterable[tuple[str, T]]) -> None:
        self._root = _Node({(tuple(map(tuple, map(_choices, _parts(line)))), value): None for line, value in lines})
        self.words = {word for left, _ in self._root.lines for word in chain(*chain(*left))}  # of all phrases, plain

    def find(self, tokens: tuple[Token, ...]) -> list[Found[T]]:
        """Return the phrases of a sentence in the order of their first words, the longest where two share a word."""
        return longest(self.every(tokens))

    def every(self, tokens: tuple[Token, ...]) -> list[Found[T]]:
        """Return all phrases of a sentence, also those within or across others."""
        words = [token.word for token in tokens]
        return [
            Found(node.values, at)
            for start, word in enumerate(words)
            if word in self._root.following
            for node, at in self._walk(self._root.following[word], words, (start,))
        ]

    def _walk(
        self, node: _Node[T], words: list[str], at: tuple[int, ...]
    ) -> Iterator[tuple[_Node[T], tuple[int, ...]]]:
        if node.values:
            yield node, at
        following = at[-1] + 1
        if following < len(words) and words[following] in node.following:
            yield from self._walk(node.following[words[following]], words, (*at, following))
        for gap, longest, ends in (("..", _SHORT_GAP, _ENDS_SHORT), ("...", _LONG_GAP, _ENDS_LONG)):
            after = node.following.get(gap)
            if after is None:
                continue
            for place in range(following, min(following + longest + 1, len(words))):
                word = words[place]
                if word in after.following:
                    yield from self._walk(after.following[word], words, (*at, place))
                if word in ends:
                    break

"""Where a finding is, how much of it there is and how it has changed, as the words around it say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from medvlp.core.triplet import Side
from medvlp.text.assertion import VERBS
from medvlp.text.ontology import lines, load
from medvlp.text.phrases import Found, Phrases, Token

__all__ = ["Place", "places"]

_SIDES: dict[str, Side] = {
    "left": "left", "leftsided": "left", "lingula": "left", "lingular": "left", "right": "right", "rightsided": "right",
    "bilateral": "bilateral", "bilaterally": "bilateral", "both": "bilateral", "bibasilar": "bilateral",
    "bibasal": "bilateral", "biapical": "bilateral",
}  # fmt: skip
_NUMBERS = {
    "single": 1, "solitary": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10,
}  # fmt: skip
_PREPOSITIONS = frozenset(
    [
        "in",
        "on",
        "at",
        "over",
        "within",
        "involving",
        "throughout",
        "to",
        "from",
        "along",
        "above",
        "below",
        "near",
        "projecting",
    ]
)
_PARTS = frozenset((",", ";", ":", "(", ")", "with", "without", "no", "or", *_PREPOSITIONS, *VERBS))
_HARD = frozenset((";", "but", "however", "while", "whereas", "although"))
_SAME = frozenset(  # the later finding is what the earlier one is taken for
    [
        "consistent",
        "compatible",
        "keeping",
        "represent",
        "representing",
        "reflect",
        "reflecting",
        "suggest",
        "suggesting",
        "suggestive",
        "likely",
        "possibly",
        "probably",
        "may",
        "could",
        "might",
        "suspicious",
        "concerning",
        "versus",
        "or",
    ]
)
_BESIDE = frozenset(("with", "adjacent", "associated", "overlying", "underlying", "accompanying"))
_APART = frozenset(("no", "without", "not", "there", "above", *_HARD))
_GRADED = (
    ["displaced"],
    ["angulated"],
    ["calcified"],
    ["tortuous"],
    ["rotated"],
    ["elevated"],
)  # the grade is of these
_AMOUNTS = frozenset(("amount", "volume", "degree", "area", "rim", "component"))


@dataclass(frozen=True, slots=True)
class Place:
    """What the words around a finding say of it; see `medvlp.text.mentions.Mention`."""

    side: Side = ""
    anatomy: str = ""
    severity: str = ""
    size_mm: float | None = None
    count: int | None = None
    change: str = ""
    texture: str = ""


@dataclass(frozen=True, slots=True)
class _Fact:
    kind: str  # side, anatomy, severity, size, count or change
    value: str
    at: int


@cache
def _phrases() -> Phrases[tuple[str, str]]:
    facts = load("places")
    return Phrases(
        [
            (line, (kind, name))
            for kind in ("anatomy", "severity", "change", "texture")
            for name, block in facts[kind].items()
            for line in lines(block)
        ]
    )


def places(tokens: tuple[Token, ...], terms: Sequence[Found[object]]) -> list[Place]:
    """Return what a sentence says of the place, size and course of each of its terms."""
    words = [token.word for token in tokens]
    said: list[dict[str, list[str]]] = [{} for _ in terms]
    for fact in _facts(words, tokens, terms):
        for index in _owners(fact, words, terms):
            said[index].setdefault(fact.kind, []).append(fact.value)
    for index in range(1, len(terms)):
        _inherit(said, index, words, terms)
    return [_place(each) for each in said]


def _inherit(said: list[dict[str, list[str]]], index: int, words: list[str], terms: Sequence[Found[object]]) -> None:
    """Give a finding what is said of the one before it that it explains or accompanies."""
    for earlier in range(index - 1, -1, -1):
        between = words[terms[earlier].last + 1 : terms[index].first]
        if _APART.intersection(between):
            return
        kinds = ("side", "anatomy", "severity", "texture") if _SAME.intersection(between) else ("side",)
        if _SAME.intersection(between) or _BESIDE.intersection(between):
            for kind in kinds:
                if kind in said[earlier]:
                    said[index].setdefault(kind, said[earlier][kind])


def _facts(words: list[str], tokens: tuple[Token, ...], terms: Sequence[Found[object]]) -> list[_Fact]:
    used = {place for term in terms for place in term.at}
    facts = [_Fact("side", _SIDES[word], place) for place, word in enumerate(words) if word in _SIDES]
    facts += [
        _Fact("count", str(_NUMBERS.get(word, word)), place)
        for place, word in enumerate(words)
        if word in _NUMBERS or re.fullmatch(r"[2-9]", word)
    ]
    for found in _phrases().find(tokens):
        kind, value = found.values[0]
        of_course = kind == "severity" and words[found.last + 1 : found.last + 2] in _GRADED
        if kind == "anatomy" or not (of_course or used.issuperset(found.at)):
            facts.append(_Fact(kind, value, found.first))
    for place, word in enumerate(words):
        if word in ("mm", "cm", "millimeter", "centimeter", "millimetre", "centimetre") and place:
            number = words[place - 1]
            if re.fullmatch(r"\d+(\.\d+)?", number):
                facts.append(_Fact("size", str(float(number) * (10 if word[0] == "c" else 1)), place))
    return sorted(facts, key=lambda fact: fact.at)


def _owners(fact: _Fact, words: list[str], terms: Sequence[Found[object]]) -> list[int]:
    """Return the terms that a fact belongs to."""
    at = fact.at
    for index, term in enumerate(terms):
        if term.first <= at <= term.last:
            return [index]
    before = [
        index for index, term in enumerate(terms) if term.last < at and not _HARD.intersection(words[term.last : at])
    ]
    after = [
        index for index, term in enumerate(terms) if term.first > at and not _HARD.intersection(words[at : term.first])
    ]
    behind = _behind_preposition(words, at)
    if after and not (behind and before) and _modifies(words, at, terms[after[0]].first):
        return [after[0]]
    if fact.kind in ("severity", "count", "texture"):
        graded = before and words[at - 1] == ","
        return [before[-1]] if graded else []
    if before:
        owners = [before[-1]]
        for index in reversed(before[:-1]):
            between = words[terms[index].last + 1 : terms[owners[-1]].first]
            if _PARTS.union(("of",)).difference((",", "or")).intersection(between) or "and" not in [*between, "and"]:
                break
            owners.append(index)
        return owners
    return [after[0]] if after else []


def _behind_preposition(words: list[str], at: int) -> bool:
    back = [word for word in words[max(0, at - 3) : at]]
    while back and back[-1] in (
        "the",
        "a",
        "both",
        "upper",
        "lower",
        "mid",
        "medial",
        "lateral",
        "posterior",
        "anterior",
    ):
        back.pop()
    return bool(back) and back[-1] in (*_PREPOSITIONS, "of")


def _modifies(words: list[str], at: int, first: int) -> bool:
    """Return whether a word stands in front of a term as one of its adjectives."""
    between = words[at + 1 : first]
    for offset, word in enumerate(between):
        if word in _PARTS or (word == "of" and between[offset - 1] not in _AMOUNTS):
            return False
        if word == "and":
            following = between[offset + 1] if offset + 1 < len(between) else ""
            if following not in _SIDES and following not in ("upper", "lower", "mid", "middle"):
                return False
    return True


def _place(said: dict[str, list[str]]) -> Place:
    sides = set(said.get("side", ()))
    side: Side = ""
    if "bilateral" in sides or {"left", "right"} <= sides:
        side = "bilateral"
    elif sides:
        side = "left" if "left" in sides else "right"
    grades = [grade for grade in ("severe", "moderate", "mild") if grade in said.get("severity", ())]
    named = said.get("anatomy", [])
    anatomy = [name for name in named if "lobe" in name] or [name for name in named if name != "lung"] or named
    sizes = [float(size) for size in said.get("size", ())]
    counts = said.get("count", ())
    return Place(
        side=side,
        anatomy=anatomy[-1] if anatomy else "",
        severity=grades[0] if grades else "",
        size_mm=max(sizes) if sizes else None,
        count=int(counts[-1]) if counts else None,
        change=said.get("change", [""])[0],
        texture=said.get("texture", [""])[0],
    )

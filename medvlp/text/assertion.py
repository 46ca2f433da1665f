"""Is it there? Which words of a sentence deny, doubt or date a finding, and how far they reach.

The words are in ``_lexicon/cues.yaml``. Forward cues ("no", "possible") govern what follows, backward cues ("is not
seen") what stands before them, until their clause ends. The idea of cue and scope is that of NegEx (Chapman et al., J
Biomed Inform 2001) and ConText (Harkema et al., J Biomed Inform 2009); the phrases, the ends of scopes and the rules for
lists are our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from medvlp.text.ontology import lines, load
from medvlp.text.phrases import Found, Phrases, Token

__all__ = ["PRIOR", "VERBS", "Assertion", "Presence", "assertions"]

Presence = Literal["present", "absent", "uncertain", "historical", "conditional"]
_KINDS: tuple[Presence, ...] = ("absent", "uncertain", "historical", "conditional")

VERBS = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "had",
        "appear",
        "appears",
        "show",
        "shows",
        "demonstrate",
        "demonstrates",
        "reveal",
        "reveals",
        "remain",
        "remains",
        "represent",
        "represents",
        "contain",
        "contains",
        "measure",
        "measures",
        "project",
        "projects",
        "involve",
        "involves",
        "obscure",
        "obscures",
        "suggest",
        "suggests",
        "reflect",
        "reflects",
        "may",
        "might",
        "could",
        "can",
        "cannot",
    ]
)
_DETECTED = frozenset(
    [
        "seen",
        "identified",
        "noted",
        "present",
        "visualized",
        "demonstrated",
        "evident",
        "detected",
        "appreciated",
        "observed",
        "found",
        "visible",
    ]
)
_STARTERS = frozenset(
    [
        "a",
        "an",
        "the",
        "there",
        "this",
        "these",
        "mild",
        "mildly",
        "small",
        "tiny",
        "trace",
        "minimal",
        "slight",
        "moderate",
        "moderately",
        "severe",
        "large",
        "marked",
        "stable",
        "unchanged",
        "new",
        "persistent",
        "worsening",
        "improved",
        "increasing",
        "decreasing",
        "interval",
        "status",
        "heart",
        "patient",
        "findings",
        "again",
        "old",
    ]
)
PRIOR = frozenset(["prior", "previous", "former", "past", "earlier", "treated", "resected", "excised"])
_AUXILIARY = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "had",
        "been",
        "being",
        "be",
        "appear",
        "remain",
        "also",
        "now",
        "both",
        "all",
        "currently",
        "definitely",
        "likely",
        "presently",
        "still",
        ",",
        ":",
    ]
)
_MONTHS = frozenset(
    [
        "january",
        "february",
        "march",
        "april",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "jan",
        "feb",
        "sept",
        "oct",
        "nov",
        "dec",
    ]
)
_OF_TIME = frozenset(("in", "since", "from", "last", "of", "until", "late", "early", "mid"))
_STATES = frozenset(["represent", "reflect", "indicate", "show", "contain", "demonstrate", "reveal", "mean"])
_LIKENED = frozenset(["compatible", "consistent", "associated", "keeping", "in", "correlate"])
_DIFFERENTIAL = frozenset(("differential", "consideration", "include"))
_BARE = frozenset(("no", "without", "not", "nor", "never"))
_TO_THE = frozenset(("of", "in", "to", "from", "for", "with", "within", "along", "at", "on", "by"))


@dataclass(frozen=True, slots=True)
class _Cue:
    kind: str  # a presence, "plain" or "stop"
    forward: bool


@dataclass(frozen=True, slots=True)
class Assertion:
    """What is asserted of a term.

    Attributes:
        presence: how.
        cue: the words that decided, in plain form; empty where nothing did.
    """

    presence: Presence
    cue: str


@cache
def _cues() -> Phrases[_Cue]:
    facts = load("cues")
    entries = [
        (line, _Cue(kind, direction == "forward"))
        for direction in ("forward", "backward")
        for kind in _KINDS
        for line in lines(facts[direction].get(kind))
    ]
    entries += [(line, _Cue("plain", False)) for line in lines(facts["plain"])]
    entries += [(line, _Cue("stop", False)) for line in lines(facts["stop"])]
    return Phrases([*entries, *((line.replace("cannot", "can not"), cue) for line, cue in entries if "cannot" in line)])


def assertions(tokens: tuple[Token, ...], terms: Sequence[Found[object]]) -> list[Assertion]:
    """Return what a sentence asserts of each of its terms.

    Args:
        tokens: of the sentence.
        terms: what was found in it.
    """
    tokens = _dated(tokens)
    words = [token.word for token in tokens]
    used = {place for term in terms for place in term.at}
    cues = [found for found in _cues().find(tokens) if not used.issuperset(found.at)]
    stops = {found.first for found in cues if any(cue.kind == "stop" for cue in found.values)}
    marks: list[list[tuple[Presence, str, bool]]] = [[] for _ in terms]
    for found in cues:
        for cue in found.values:
            if cue.kind in ("plain", "stop"):
                continue
            kind: Presence = cue.kind  # type: ignore[assignment]
            said = " ".join(words[place] for place in found.at)
            if cue.forward:
                end = _forward_end(words, found.last + 1, kind, said, stops)
                reached = [
                    found.first < term.first < found.last  # in a gap of the cue
                    or (found.last < term.last < end and not _of_another(words, found, term, said))
                    for term in terms
                ]
                if said in PRIOR and True in reached:
                    first = reached.index(True)
                    reached = [
                        reach and (index == first or terms[index].first == terms[index - 1].last + 1)
                        for index, reach in enumerate(reached)
                    ]
            else:
                start = _backward_start(words, found.first, stops)
                reached = [start < term.first < found.first for term in terms]
            for mark, reach in zip(marks, reached, strict=True):
                if reach:
                    mark.append((kind, said, cue.forward))
    for index in _alternatives(words, terms):
        marks[index].append(("uncertain", "or", True))
    return [_decide(mark) for mark in marks]


def _decide(marks: Sequence[tuple[Presence, str, bool]]) -> Assertion:
    for kind in ("conditional", "absent", "historical", "uncertain"):
        for found, said, _ in marks:
            if found == kind:
                return Assertion(found, said)
    return Assertion("present", "")


def _forward_end(words: list[str], start: int, kind: str, said: str, stops: set[int]) -> int:
    """Return the place behind the last word that a forward cue governs."""
    for place in range(start, len(words)):
        word = words[place]
        if place in stops:
            return place
        if kind == "conditional":
            continue
        if place > start and word in ("there", "without"):
            return place
        if place > start and word == "with" and words[place - 1] not in _LIKENED:
            return place
        if word in (",", "and") and (place == start or _DIFFERENTIAL.intersection(said.split())):
            continue
        if kind == "absent" and place > start + 1 and word in _STATES and words[place - 1] != "to":
            return place
        if word == "," and not _list_goes_on(words, place, stops):
            return place
        if word == "and" and place > start and not _and_goes_on(words, place, stops):
            return place
    return len(words)


def _segment(words: list[str], start: int, stops: set[int]) -> list[str]:
    segment: list[str] = []
    for place in range(start, len(words)):
        if words[place] == "," or place in stops:
            break
        segment.append(words[place])
    return segment


def _list_goes_on(words: list[str], comma: int, stops: set[int]) -> bool:
    """Return whether what follows a comma is one more item of the list before it."""
    rest: list[str] = []
    for place in range(comma + 1, len(words)):
        if place in stops:
            break
        rest.append(words[place])
    for joint in ("or", "nor"):
        if joint in rest and not VERBS.intersection(rest[: rest.index(joint)]):
            return True
    segment = _segment(words, comma + 1, stops)
    if not segment:
        return False
    if segment[0] == "and":
        return _and_goes_on(words, comma + 1, stops)
    return segment[0] not in _STARTERS and not VERBS.intersection(segment)


def _and_goes_on(words: list[str], place: int, stops: set[int]) -> bool:
    segment = _segment(words, place + 1, stops)
    if not segment or segment[0] in _STARTERS:
        return False
    verbs = [index for index, word in enumerate(segment) if word in VERBS]
    return not verbs or bool(_DETECTED.intersection(segment[verbs[0] + 1 : verbs[0] + 3]))


def _of_another(words: list[str], cue: Found[_Cue], term: Found[object], said: str) -> bool:
    """Return whether the cue denies something of a finding and not the finding: "no kink in the chest tube"."""
    if said not in _BARE or "xxxx" in words[cue.last : term.first]:  # a word that de-identification took away
        return False
    for place in range(term.first - 1, max(cue.last + 1, term.first - 6), -1):
        if words[place] in ("the", "this", "these", "known"):
            return words[place - 1] in _TO_THE and place - 1 > cue.last + 1
        if words[place] in VERBS or words[place] in (",", "or", "and"):
            return False
    return False


def _dated(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Return the tokens with years and months as such; "may" is one behind "in" or "since"."""
    dated = []
    for place, token in enumerate(tokens):
        before = tokens[place - 1].word if place else ""
        word = token.word
        if len(word) == 4 and word.isdigit() and word[:2] in ("19", "20"):
            word = "year_"
        elif word in _MONTHS or (word == "may" and before in _OF_TIME):
            word = "month_"
        dated.append(Token(word, token.start, token.end))
    return tuple(dated)


def _backward_start(words: list[str], place: int, stops: set[int]) -> int:
    """Return the place before the first word that a backward cue governs."""
    place -= 1
    while place >= 0 and words[place] in _AUXILIARY:
        place -= 1
    joined = False
    shared = place >= 0 and words[place] == "and"  # "effusions have been drained and are not seen": one subject
    while place >= 0:
        word = words[place]
        if place in stops or word in ("with", "without", "there") or (word in VERBS and not shared):
            return place
        if word == ",":
            if not joined or shared:
                return place
            before = words[:place]
            item = before[len(before) - before[::-1].index(",") :] if "," in before else before
            if len(item) > 5 or VERBS.intersection(item) or {"in", "at", "of"}.intersection(item):
                return place
        if word in ("and", "or", "nor"):
            left = words[:place]
            left = left[len(left) - left[::-1].index(",") :] if "," in left else left
            if VERBS.intersection(left) and not shared:
                return place
            joined = True
        place -= 1
    return -1


def _alternatives(words: list[str], terms: Sequence[Found[object]]) -> set[int]:
    """Return the terms that are one of two readings: "atelectasis or pneumonia", "scar versus nodule"."""
    found: set[int] = set()
    for place, word in enumerate(words):
        if word not in ("or", "versus", "/"):
            continue
        before = [index for index, term in enumerate(terms) if term.last < place]
        after = [index for index, term in enumerate(terms) if term.first > place]
        if after and terms[after[0]].first - place <= 5 and not _parted(words, place + 1, terms[after[0]].first):
            found.add(after[0])
        if before and word != "/" and not _parted(words, terms[before[-1]].last + 1, place):
            found.add(before[-1])
    return found


def _parted(words: list[str], start: int, end: int) -> bool:
    return any(word in VERBS or word in (",", ";", "and", "with", "no") for word in words[start:end])

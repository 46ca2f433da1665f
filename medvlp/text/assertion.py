"""Is it there? Which words of a sentence deny, doubt or date a finding.

The words are in ``_lexicon/cues.yaml``. Forward cues ("no", "possible") govern what follows, backward cues ("is not
seen") what stands before them, as far as `medvlp.text.scopes` says. The idea of cue and scope is that of NegEx (Chapman
et al., J Biomed Inform 2001) and ConText (Harkema et al., J Biomed Inform 2009); the phrases and the rules of scope are
our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from medvlp.text.lexicon import Term, word_class
from medvlp.text.ontology import lines, load
from medvlp.text.phrases import Found, Phrases, Token
from medvlp.text.scopes import backward_start, denies_another, forward_end

Presence = Literal["present", "absent", "uncertain", "historical", "conditional"]
_STRONGEST_FIRST: tuple[Presence, ...] = ("conditional", "absent", "historical", "uncertain")
_ALTERNATIVE_WITHIN = 5  # words between "or" and the reading that follows it


@dataclass(frozen=True, slots=True)
class Assertion:
    """How a term is asserted, and the words that decided, in plain form; empty where nothing did."""

    presence: Presence
    cue: str


@dataclass(frozen=True, slots=True)
class _Cue:
    """A cue: what it asserts (None: nothing, it only looks like one), and what it governs."""

    presence: Presence | None
    reach: Literal["forward", "backward", "stop", "cause", "nothing"]


@cache
def _cues() -> Phrases[_Cue]:
    facts = load("cues")
    entries = [(line, _Cue(None, "nothing")) for line in lines(facts["plain"])]
    entries += [(line, _Cue(None, "stop")) for line in lines(facts["stop"])]
    entries += [(line, _Cue(None, "cause")) for line in lines(facts["cause"])]
    for presence in _STRONGEST_FIRST:
        entries += [(line, _Cue(presence, "forward")) for line in lines(facts["forward"][presence])]
        entries += [(line, _Cue(presence, "backward")) for line in lines(facts["backward"][presence])]
    return Phrases([*entries, *((line.replace("cannot", "can not"), cue) for line, cue in entries if "cannot" in line)])


def assertions(tokens: tuple[Token, ...], terms: Sequence[Found[Term]]) -> list[Assertion]:
    """Return what a sentence asserts of each of the terms that were found in it.

    Example:
        >>> from medvlp.text.lexicon import terms
        >>> from medvlp.text.phrases import tokens_of
        >>> tokens = tokens_of("No effusion, but possible edema.")
        >>> [each.presence for each in assertions(tokens, terms().find(tokens))]
        ['absent', 'uncertain']
    """
    dated = _dated(tokens)
    words = [token.word for token in dated]
    used = {place for term in terms for place in term.at}
    cues = [found for found in _cues().find(dated) if not used.issuperset(found.at)]
    stops = _places_of("stop", cues) | {
        place for place, word in enumerate(words) if word == "." and _ends(words, place)
    }
    causes = _places_of("cause", cues)
    marks: list[list[Assertion]] = [[] for _ in terms]
    for found in cues:
        said = " ".join(words[place] for place in found.at)
        reached: list[int] = []
        for cue in sorted(found.values, key=lambda cue: cue.reach != "forward"):
            if cue.presence is not None and not reached:  # what may point both ways points back if nothing follows
                ends = stops | causes if cue.presence == "absent" else stops
                reached = _reached(words, found, cue, said, ends, terms)
                for index in reached:
                    marks[index].append(Assertion(cue.presence, said))
    unchanged = [found.first for found in cues if _denies_nothing(words, found)]
    for index in _alternatives(words, unchanged, stops, terms):
        marks[index].append(Assertion("uncertain", "or"))
    return [_strongest(said) for said in marks]


def _places_of(reach: str, cues: Sequence[Found[_Cue]]) -> set[int]:
    return {found.first for found in cues if any(cue.reach == reach for cue in found.values)}


def _ends(words: list[str], place: int) -> bool:
    """Return whether a full stop ends a sentence that goes on in small letters: "no effusion. heart normal"."""
    return words[place] == "." and 0 < place < len(words) - 1 and words[place - 1] not in word_class("abbreviated")


def _strongest(said: Sequence[Assertion]) -> Assertion:
    found = (each for presence in _STRONGEST_FIRST for each in said if each.presence == presence)
    return next(found, Assertion("present", ""))


def _reached(
    words: list[str], found: Found[_Cue], cue: _Cue, said: str, stops: set[int], terms: Sequence[Found[Term]]
) -> list[int]:
    """Return the terms that a cue governs."""
    if cue.reach == "backward":
        start = backward_start(words, found.first, said, stops)
        reached = [index for index, term in enumerate(terms) if start < term.first < found.first]
        return reached[-1:] if said in word_class("nearest") else reached
    end = forward_end(words, found.last + 1, str(cue.presence), said, stops)
    reached = [
        index
        for index, term in enumerate(terms)
        if found.first < term.first < found.last  # in a gap of the cue: "absence of an effusion cannot be confirmed"
        or (found.last < term.last < end and not denies_another(words, found.last, term.first, said))
    ]
    if said not in word_class("nearest"):
        return reached
    return [  # an adjective dates the finding that it stands before, and what is written onto that
        index for place, index in enumerate(reached) if not place or terms[index].first == terms[index - 1].last + 1
    ]


def _dated(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Return the tokens with years and months as such; "may" is one behind "in" or "since"."""
    dated = []
    for place, token in enumerate(tokens):
        before = tokens[place - 1].word if place else ""
        word = token.word
        if len(word) == 4 and word.isdigit() and word[:2] in ("19", "20"):
            word = "year_"
        elif word in word_class("months") or (word == "may" and before in word_class("of_time")):
            word = "month_"
        dated.append(Token(word, token.start, token.end))
    return tuple(dated)


def _denies_nothing(words: list[str], found: Found[_Cue]) -> bool:
    """Return whether a cue is of the kind of "no change in", behind which "or" joins what is there."""
    return words[found.first] in word_class("bare_denials") and any(cue.presence is None for cue in found.values)


def _alternatives(
    words: list[str], unchanged: Sequence[int], stops: set[int], terms: Sequence[Found[Term]]
) -> set[int]:
    """Return the terms that are one of two readings: "atelectasis or pneumonia", "scar versus nodule"."""
    found: set[int] = set()
    for place, word in enumerate(words):
        if word not in ("or", "versus", "/"):
            continue
        if any(first < place and stops.isdisjoint(range(first, place)) for first in unchanged):
            continue
        before = next((index for index in reversed(range(len(terms))) if terms[index].last < place), None)
        after = next((index for index, term in enumerate(terms) if term.first > place), None)
        if after is not None and terms[after].first - place <= _ALTERNATIVE_WITHIN:
            found.update(() if _parted(words[place + 1 : terms[after].first]) else (after,))
        if before is not None and word != "/":
            found.update(() if _parted(words[terms[before].last + 1 : place]) else (before,))
    return found


def _parted(between: list[str]) -> bool:
    return not word_class("verbs").union((",", ";", "and", "with", "no")).isdisjoint(between)

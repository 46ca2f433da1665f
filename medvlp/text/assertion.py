"""Is it there? Which words of a sentence deny, doubt or date a finding.

The words are in ``_lexicon/cues.yaml``. Forward cues ("no", "possible") govern what follows, backward cues ("is not
seen") what stands before them; how far, `medvlp.text.scope` says. The idea is that of NegEx (Chapman et al., J
Biomed Inform 2001) and ConText (Harkema et al., J Biomed Inform 2009); the phrases and the rules of scope are our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

from medvlp.text.location import is_device
from medvlp.text.ontology import Term, lines, load, word_class
from medvlp.text.phrases import Found, Phrases, Token
from medvlp.text.scope import backward_start, denies_another, forward_end

Presence = Literal["present", "absent", "uncertain", "historical", "conditional"]
_STRONGEST_FIRST: tuple[Presence, ...] = ("conditional", "absent", "historical", "uncertain")
_BULLETS = frozenset("-–•*·")
_NUMBER = re.compile(r"\d+[.)]|[a-z]\)")  # of an item of a list
_AGAIN: dict[Presence | None, str] = {"absent": "no", "uncertain": "possible", "conditional": "if"}  # of listed items
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
    reach: Literal["forward", "backward", "stop", "cause", "event", "nothing"]


@cache
def _cues() -> Phrases[_Cue]:
    facts = load("cues")
    entries = [(line, _Cue(None, "nothing")) for line in lines(facts["plain"])]
    entries += [(line, _Cue(None, reach)) for reach in ("stop", "cause", "event") for line in lines(facts[reach])]
    for presence in _STRONGEST_FIRST:
        entries += [(line, _Cue(presence, "forward")) for line in lines(facts["forward"][presence])]
        entries += [(line, _Cue(presence, "backward")) for line in lines(facts["backward"][presence])]
    entries += [(line.replace("rule out", "r / o"), cue) for line, cue in entries if "rule out" in line]
    return Phrases([*entries, *((line.replace("cannot", "can not"), cue) for line, cue in entries if "cannot" in line)])


def assertions(tokens: tuple[Token, ...], terms: Sequence[Found[Term]]) -> list[Assertion]:
    """Return what a sentence asserts of each of the terms that were found in it.

    Example:
        >>> from medvlp.text.ontology import terms
        >>> from medvlp.text.phrases import tokens_of
        >>> tokens = tokens_of("No effusion, but possible edema.")
        >>> [each.presence for each in assertions(tokens, terms().find(tokens))]
        ['absent', 'uncertain']
    """
    dated = _dated(tokens)
    words = [token.word for token in dated]
    used = {place for term in terms for place in term.at}
    cues = [found for found in _cues().find(dated) if not used.issuperset(found.at)]
    # A full stop ends a sentence that goes on in small letters: "no effusion. heart normal".
    abbreviated = word_class("abbreviated")
    ends = {p for p in range(1, len(words) - 1) if words[p] in (".", ";") and words[p - 1] not in abbreviated}
    dashes = [place for place, word in enumerate(words) if word in ("-", "–", "—")]
    denied = len(dashes) == 1 and not word_class("bare_denials").isdisjoint(words[: dashes[0]])
    if denied and any(term.last == dashes[0] - 1 for term in terms):  # "no effusion - the heart is large"
        ends |= {at for at in dashes if not word_class("starters").isdisjoint(words[at + 1 : at + 2])}
    stop, causes, events = (
        {found.first for found in cues if any(cue.reach == reach for cue in found.values)}
        for reach in ("stop", "cause", "event")
    )
    stops, events = ends | stop, {at for at in events if words[at - 1] not in ("or", "nor", "and", ",")}
    hedged = {c.first for c in cues if words[c.first - 1] in (",", "and") and _Cue("uncertain", "forward") in c.values}
    marks: list[list[Assertion]] = [[] for _ in terms]
    for found in cues:
        said = " ".join(words[place] for place in found.at)
        reached: list[int] = []
        for cue in sorted(found.values, key=lambda cue: cue.reach != "forward"):
            if cue.presence is not None and not reached:  # what may point both ways points back if nothing follows
                over = {at for at in events if any(found.last < term.first <= term.last < at for term in terms)}
                over |= stops | {at for at in events if words[at] != "post" and at > found.last + 1}
                apart = causes | (hedged if cue.reach == "forward" else set())  # "no edema, likely effusion"
                limits = {"absent": over | apart, "uncertain": over}.get(cue.presence, stops)
                reached = _reached(words, found, cue, said, limits, terms)
                for index in reached:
                    marks[index].append(Assertion(cue.presence, said))
    bare = [found for found in cues if words[found.first] in word_class("bare_denials")]
    unchanged = [found for found in bare if any(cue.presence is None for cue in found.values)]  # "no change in"
    for place in _denied_again(words, unchanged, stops):
        for index in _reached(words, Found((), (place,)), _Cue("absent", "forward"), "no", stops | causes, terms):
            marks[index].append(Assertion("absent", "no"))
    for index, term in enumerate(terms):
        if _denies_normal(words, term):
            marks[index].append(Assertion("absent", "not"))
    for index in _alternatives(words, [found.first for found in unchanged], stops, terms) - _of_mishaps(words, terms):
        marks[index].append(Assertion("uncertain", "or"))
    return [
        next((m for presence in _STRONGEST_FIRST for m in said if m.presence == presence), Assertion("present", ""))
        for said in marks
    ]


def _reached(
    words: list[str], found: Found[_Cue], cue: _Cue, said: str, stops: set[int], terms: Sequence[Found[Term]]
) -> list[int]:
    """Return the terms that a cue governs."""
    if cue.reach == "backward":
        start = backward_start(words, _behind_subject(words, found, terms), said, stops)
        reached = [index for index, term in enumerate(terms) if start < term.first < found.first]
        if said in word_class("nearest"):
            return reached[-1:]
        # "effusion since the tube was removed": what was removed is the tube, but not "after placement of a tube"
        subject = terms[reached[-1]] if reached and terms[reached[-1]].last == found.first - 1 else None
        return [
            index
            for index in reached
            if (subject is None or {"since", "after", "when"}.isdisjoint(words[terms[index].last : subject.first]))
            and (index == reached[-1] or "placement" not in words[max(terms[index].first - 6, 0) : terms[index].first])
        ]
    box = next((at for at, word in enumerate(words) if word.endswith("ticked")), 0)
    leads = not box or (words[box - 1] == ":" and all(term.last != box - 2 for term in terms))  # "lungs: [x] clear [ ]"
    behind = () if leads else ("unticked",)  # "effusion [ ] edema [x]"
    if said in ("absent", *behind, *word_class("gone")) and (
        words[found.last + 1 : found.last + 2] in ([","], [")"], ["and"], ["with"], ["without"])
        or any(term.last == found.first - 1 for term in terms)
    ):  # "tube removed, line in place": what is gone stands before it
        return []
    ended = words[found.last + 1 : found.last + 2] in ([","], ["and"]) and said.endswith(
        ("likely", "excluded", "ruled out")
    )
    if ended and cue.presence == "absent" and any(term.last < found.first for term in terms):
        return []  # "infection unlikely, edema present"
    end = min(forward_end(words, found.last + 1, str(cue.presence), said, stops), _run_on(words, found.last, terms))
    reached = [
        index
        for index, term in enumerate(terms)
        if found.first < term.first < found.last  # in a gap of the cue: "absence of an effusion cannot be confirmed"
        or (found.last < term.last < end and not denies_another(words, found.last, term.first, said))
    ]
    spared = _of_mishaps(words, terms)
    reached = [index for index in reached if index not in spared]
    if said == "non":  # of "non-displaced fracture" the adjective is denied, of "non-enlarged heart" the finding
        return [index for index in reached if terms[index].first == found.last + 1]
    if said not in word_class("nearest"):
        return reached
    between = words[found.last + 1 : terms[reached[0]].first] if reached and said in word_class("prior") else []
    joined = "and" in between and word_class("regions").isdisjoint(between)  # "prior surgery and pacemaker"
    if joined or between[:1] == [","]:  # "compared to prior, effusion"
        return []
    return [  # an adjective dates the finding that it stands before, and what is written onto that
        index for place, index in enumerate(reached) if not place or terms[index].first == terms[index - 1].last + 1
    ]


def _of_mishaps(words: list[str], terms: Sequence[Found[Term]]) -> set[int]:
    """Return the devices of which a mishap is told: "no pacing lead fracture", "no malposition of lines or tubes"."""
    mishaps, found = word_class("mishaps"), set[int]()
    if mishaps.isdisjoint(words):
        return found
    named = {at for term in terms if is_device(term) for at in range(term.first, term.last + 1)} | {
        at for at, word in enumerate(words) if word == "line"
    }
    for index, term in enumerate(terms):
        behind, ahead = term.last + 1, term.first - 1
        while behind in named or words[behind : behind + 1] in (["or"], ["and"], [","], ["/"]):
            behind += 1
        while ahead in named or (ahead > 0 and words[ahead] in ("or", "and", ",", "/", "the", "any")):
            ahead -= 1
        ahead_of = behind - 1 in named and not mishaps.isdisjoint(words[behind : behind + 1])
        if is_device(term) and (ahead_of or (words[ahead] == "of" and words[ahead - 1] in mishaps)):
            found.add(index)
    return found


def _behind_subject(words: list[str], cue: Found[_Cue], terms: Sequence[Found[Term]]) -> int:
    """Return the place of the cue, or of the "which" in front of it: "an effusion that was large has resolved"."""
    place = next((at for at in range(cue.first - 1, 0, -1) if words[at] in ("which", "that")), 0)
    clause, between = words[place + 1 : cue.last + 1], words[place + 1 : cue.first]
    gone = word_class("gone").intersection(clause) or set(between) - word_class("auxiliaries")
    apart = {"and", "but"}.intersection(between) or any(place < term.first < cue.first for term in terms)
    return place if place and gone and not apart and clause[0] in word_class("auxiliaries") else cue.first


def _run_on(words: list[str], cue: int, terms: Sequence[Found[Term]]) -> int:
    """Return the place of a statement without a mark: "no effusion heart is enlarged", "no effusion mild edema"."""
    subjects, seen = word_class("examined") | {"the", "is", "are"}, word_class("detected")
    for before, term in pairwise(terms):
        between, last = words[before.last + 1 : term.first], words[term.last]
        named = not word_class("examined").isdisjoint([*between, words[term.first]]) and subjects.issuperset(between)
        graded = not word_class("never_denied").isdisjoint(between[not seen.isdisjoint(between[:1]) :][:1])
        graded |= is_device(term) and not is_device(before) and not between  # "no effusion chest tube in place"
        graded &= "or" not in words[before.last :]
        steady = not between and not word_class("predicates").isdisjoint(words[term.last + 1 : term.last + 2])
        steady &= {".", ",", ";", "and", "in", "from", "since"}.issuperset(words[term.last + 2 : term.last + 3])
        stated = graded or steady or (named and (last.endswith("ed") or last in word_class("predicates")))
        if before.first > cue and stated:
            return term.first
    return len(words)


def _dated(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Return the tokens with years, months and "(-)" as such, each item of a list with its cue, and a last mark.

    "may" is a month behind "in" or "since".
    """
    dated, (listed, again) = [], listed_from(tokens) or (len(tokens), "")
    for place, token in enumerate(tokens):
        before = tokens[place - 1].word if place else ""
        word = token.word
        if len(word) == 4 and word.isdigit() and word[:2] in ("19", "20"):
            word = "year_"
        elif word in word_class("months") or (word == "may" and before in word_class("of_time")):
            word = "month_"
        elif word in "-+" and before == "(" and [each.word for each in tokens[place + 1 : place + 2]] == [")"]:
            leads = tokens[0].word == "(" and tokens[1].word in "-+"  # "(-) effusion (+) edema"
            word = "ticked" if word == "+" else "no" if leads else "negative"
        elif word == "-" and before.isalpha() and _ends_mark(tokens, place):
            word = "negative"  # "effusion -, edema +"
        elif place == listed or (place > listed and (word in _BULLETS or _NUMBER.fullmatch(before + word))):
            word = again
        elif listed < place < len(tokens) - 1 and word in (".", ";"):
            word = ","
        dated.append(Token(word, token.start, token.end))
    if dated and (dated[-1].word.isalpha() or dated[-1].word == "?"):  # the full stop that a line of a list lacks
        dated.append(Token(".", dated[-1].end, dated[-1].end))
    return tuple(dated)


def _ends_mark(tokens: tuple[Token, ...], place: int) -> bool:
    """Return whether what stands behind a hyphen ends an item: a comma, or the sentence that has others."""
    after = "".join(token.word for token in tokens[place + 1 : place + 2])
    signed = any(one.word in "-+" and two.word in ",;" for one, two in pairwise(tokens[:place]))
    return after in (",", ";") or (signed and after in ("", "."))


def listed_from(tokens: tuple[Token, ...]) -> tuple[int, str] | None:
    """Return the place of the colon or bullet behind which all that is listed has one cue ("No: 1. edema"), and it."""
    words = [token.word for token in tokens]
    numbers = {place for place, word in enumerate(words[:-1]) if _NUMBER.fullmatch(word + words[place + 1])}
    starts = [place for place, word in enumerate(words) if word == ":" or word in _BULLETS or place in numbers]
    ends = {  # places of the last words of cues; whether they hold for what follows alone
        found.last: (found.first, _AGAIN[found.values[0].presence], {cue.reach for cue in found.values} == {"forward"})
        for found in (_cues().find(tokens) if starts else ())
        if found.values[0].presence in _AGAIN and len({cue.presence for cue in found.values}) == 1
    }
    for place in starts:
        last = place if place in ends else place - 1
        while last not in ends and last >= 0 and words[last] in ("the", "any", "of", "following", "these", "("):
            last -= 1
        first, again, forward = ends.get(last, (0, "", False))
        opens = words[max(first - 1, 0) : first] in ([], ["."], ["finding"], ["pertinent"])
        # A bare "no" behind other words is an answer: "Effusion? No - edema."
        if (forward and (words[place] == ":" or first < last or opens)) or (again and words[place] == ":" and opens):
            return place, again
    return None


def _denied_again(words: list[str], unchanged: Sequence[Found[_Cue]], stops: set[int]) -> Iterator[int]:
    """Yield the places of "or" behind which a denial of change goes on: "no change in effusion or new nodule"."""
    for found in unchanged:
        if word_class("courses").isdisjoint(words[place] for place in found.at):  # "no doubt", "not only"
            continue
        for place in range(found.last + 1, len(words) - 2):
            if place in stops:
                break
            new = words[place + 1] == "new" or words[place + 1 : place + 3] in (["a", "new"], ["any", "new"])
            if words[place] == "or" and new and words[place - 1] not in ("old", "known", "prior", "existing"):
                yield place


def _denies_normal(words: list[str], term: Found[Term]) -> bool:
    """Return whether a "not" stands in a gap of what calls something normal: "the lungs are not clear"."""
    gaps = set(range(term.first, term.last)).difference(term.at)
    return any(value.kind == "normal" for value in term.values) and any(words[place] == "not" for place in gaps)


def _alternatives(
    words: list[str], unchanged: Sequence[int], stops: set[int], terms: Sequence[Found[Term]]
) -> set[int]:
    """Return the terms that are one of two readings: "edema or pneumonia", "edema favored over pneumonia"."""
    found, places = set[int](), word_class("regions") | {"both"}
    for place, word in enumerate(words):
        compared = words[max(place - 1, 0) : place + 1] in (["likely", "than"], ["favored", "over"])
        if word not in ("or", "versus", "/") and not compared:
            continue
        if any(first < place and stops.isdisjoint(range(first, place)) for first in unchanged):
            continue
        before = next((index for index in reversed(range(len(terms))) if terms[index].last < place), None)
        if word == "/" and (before is None or terms[before].last < place - 1):
            continue  # "hilar/mediastinal adenopathy", "f/u effusion"
        after = next((index for index, term in enumerate(terms) if term.first > place), None)
        ahead = [] if before is None else words[terms[before].last + 1 : place]
        if (*words, "")[place + 1] in places and not word_class("prepositions").isdisjoint(ahead):
            continue  # "ends in the upper or mid atrium"
        if before and {"both", "combination"}.intersection(words[place + 1 : place + 3]):  # "edema, pneumonia or both"
            ahead = [each for each in words[terms[before - 1].last + 1 : place] if each != ","]
            found.update(() if _parted(ahead) else (before - 1, before))
            continue
        if after is not None and terms[after].first - place <= _ALTERNATIVE_WITHIN:
            found.update(() if _parted(words[place + 1 : terms[after].first]) else (after,))
        if before is not None and word != "/":
            found.update(() if _parted(ahead) else (before,))
    return found


def _parted(between: list[str]) -> bool:
    return not word_class("verbs").union((",", ";", ":", "and", "with", "no")).isdisjoint(between)

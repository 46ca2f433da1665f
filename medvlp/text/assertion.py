"""Is it there? Which words of a sentence deny, doubt or date a finding.

The words are in ``_lexicon/cues.yaml``. Forward cues ("no", "possible") govern what follows, backward cues ("is not
seen") what stands before them, from "no" to the end of its list and from "is not seen" back to its
subject. The idea is that of NegEx (Chapman et al., J Biomed Inform 2001) and ConText (Harkema et al., J Biomed Inform
2009); the phrases and the rules of scope are our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

from medvlp.text.location import SIDES, is_device
from medvlp.text.ontology import Term, lines, load, word_class
from medvlp.text.phrases import Found, Phrases, Token

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
    for index in _alternatives(words, [found.first for found in unchanged], stops, terms):
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
        start = _backward_start(words, _behind_subject(words, found, terms), said, stops)
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
    behind = () if words[0].endswith("ticked") else ("unticked",)  # "effusion [ ] edema [x]"
    if said in ("absent", *behind, *word_class("gone")) and (
        words[found.last + 1 : found.last + 2] in ([","], [")"], ["and"], ["with"], ["without"])
        or any(term.last == found.first - 1 for term in terms)
    ):  # "tube removed, line in place": what is gone stands before it
        return []
    end = min(_forward_end(words, found.last + 1, str(cue.presence), said, stops), _run_on(words, found.last, terms))
    reached = [
        index
        for index, term in enumerate(terms)
        if found.first < term.first < found.last  # in a gap of the cue: "absence of an effusion cannot be confirmed"
        or (found.last < term.last < end and not _denies_another(words, found.last, term.first, said))
    ]
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
        elif place == listed or (place > listed and (word in _BULLETS or _NUMBER.fullmatch(before + word))):
            word = again
        elif listed < place < len(tokens) - 1 and word in (".", ";"):
            word = ","
        dated.append(Token(word, token.start, token.end))
    if dated and (dated[-1].word.isalpha() or dated[-1].word == "?"):  # the full stop that a line of a list lacks
        dated.append(Token(".", dated[-1].end, dated[-1].end))
    return tuple(dated)


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


_STATED = re.compile(  # behind "no effusion,": "right pacemaker", "line in place", "4 mm nodule", "aorta enlarged"
    r"(\S+ )?(left|right|bilateral|bibasilar|bibasal|biapical) |.*\b(tip|place|situ|position)\b"
    r"|.+ (in|on|at) (the )?(left|right|lung base|base)\b"
    r"|(?!.*(than|over|>)).*\d [cm]m\b"
    r"|.*\b(enlarged|widened|elevated|flattened|blunted|dilated|tortuous|prominent|hyperinflated|collapsed)( \.)?$"
)
_LONG_ITEM = 5  # words; a longer one between commas is a clause and no item of a list
_NEAR = 6  # words in front of a finding that can be its article


def _forward_end(words: list[str], start: int, kind: str, said: str, stops: set[int]) -> int:
    """Return the place behind the last word that a forward cue governs; a condition minds no commas."""
    lists_on = word_class("differential").intersection(said.split())  # "the differential includes A, B and C"
    asked = kind == "conditional" and said.endswith((" for", "out", "r / o", "exclude"))
    for place in range(start, len(words)):
        word, first = words[place], place == start
        if place in stops or (asked and word in word_class("shows")):  # "CT to rule out an embolus shows pneumonia"
            return place
        if first and word == "and" and "if any" in said:  # "small, if any, and the heart ..."
            return place
        if kind == "conditional" or (word in (",", "and") and (first or lists_on)):
            continue
        if not first and (
            word in ("there", "without") or (word == "with" and words[place - 1] not in word_class("likened"))
        ):
            return place
        stated = word in word_class("states") and words[place - 1] != "to" and said != "neither"
        if kind == "absent" and place > start + 1 and stated:
            return place
        if word == "," and not _list_goes_on(words, place, stops, denied=kind == "absent"):
            return place
        if word == "and" and not _and_goes_on(words, place, stops):
            return place
    return len(words)


def _backward_start(words: list[str], place: int, said: str, stops: set[int]) -> int:
    """Return the place before the first word that a backward cue at `place` governs."""
    verbs = word_class("verbs")
    stated = word_class("starters") | word_class("predicates") | word_class("comparatives") | word_class("detected")
    passed = word_class("auxiliaries") | {"a"} | ({"-", *SIDES} if said == "none" else set())  # "right - none"
    place -= 1
    while place >= 0 and words[place] in passed:
        place -= 1
        if words[place + 1] == ",":
            place = _before_insertion(words, place)
    joined = False
    trailing = said.removesuffix(" ,").endswith(("if any", "if present", "if real"))  # "effusions are small, if any"
    shared = trailing or (place >= 0 and words[place] == "and")  # "effusions were drained and are not seen"
    while place >= 0:
        word = words[place]
        if place in stops or word in ("with", "without", "there") or (word in verbs and not shared):
            return place
        if word == ",":
            item = _last_item(words[:place])
            clause = len(item) > _LONG_ITEM or not verbs.union(("in", "at", "of")).isdisjoint(item)
            if not joined or shared or clause:
                return place
        if word in ("and", "or", "nor"):
            if not shared and (words[place - 1] in stated or not verbs.isdisjoint(_last_item(words[:place]))):
                return place  # "effusion stable and pneumothorax resolved"
            joined = True
        place -= 1
    return -1


def _denies_another(words: list[str], behind: int, finding: int, said: str) -> bool:
    """Return whether a bare "no" denies something of a finding and not the finding: "no kink in the chest tube"."""
    if said not in word_class("bare_denials") or "xxxx" in words[behind:finding]:  # a word that was de-identified
        return False
    for place in range(finding - 1, max(behind + 1, finding - _NEAR), -1):
        if words[place] in ("the", "this", "these", "known"):
            return words[place - 1] in word_class("before_the") and place - 1 > behind + 1
        if words[place] in word_class("verbs") or words[place] in (",", "or", "and"):
            return False
    return False


def _before_insertion(words: list[str], place: int) -> int:
    """Return the place before what stands between commas: "effusions, left more than right, are likely"."""
    before = next((back for back in range(place, -1, -1) if words[back] == ","), -1)
    inserted = words[before + 1 : place + 1]
    return before - 1 if before > 0 and word_class("verbs").isdisjoint(inserted) and "than" in inserted else place


def _segment(words: list[str], start: int, stops: set[int]) -> list[str]:
    """Return the words up to the next comma or stop."""
    end = next((place for place in range(start, len(words)) if words[place] == "," or place in stops), len(words))
    return words[start:end]


def _last_item(words: list[str]) -> list[str]:
    """Return the words behind the last comma."""
    return words[len(words) - words[::-1].index(",") :] if "," in words else words


def _list_goes_on(words: list[str], comma: int, stops: set[int], *, denied: bool) -> bool:
    """Return whether what follows a comma is one more item of the list before it."""
    end = next((place for place in range(comma + 1, len(words)) if place in stops), len(words))
    rest = words[comma + 1 : end]
    verbs = word_class("verbs")
    if any(joint in rest and verbs.isdisjoint(rest[: rest.index(joint)]) for joint in ("or", "nor")):
        return True
    segment = _segment(words, comma + 1, stops)
    if segment and segment[0] == "and":
        return _and_goes_on(words, comma + 1, stops)
    clause = next((place for place in range(1, len(segment) - 1) if segment[place : place + 2] == ["and", "the"]), None)
    segment = segment[:clause]  # "no effusion, edema and the heart is large"
    verbs = verbs.union(word_class("predicates"))  # "no effusion, lungs clear"
    stated = denied and _STATED.match(" ".join(segment))
    return bool(segment) and segment[0] not in word_class("starters") and verbs.isdisjoint(segment) and not stated


def _and_goes_on(words: list[str], place: int, stops: set[int]) -> bool:
    """Return whether what follows "and" is denied (doubted ...) as well, or a clause of its own."""
    segment = _segment(words, place + 1, stops)
    if not segment or segment[0] in word_class("starters"):
        return False
    verbs = word_class("verbs") | word_class("predicates")
    verb = next((index for index, word in enumerate(segment) if word in verbs), None)
    return verb is None or not word_class("detected").isdisjoint(segment[verb + 1 : verb + 3])

"""How far a cue reaches: from "no" to the end of its list, from "is not seen" back to its subject.

All places are of words of one sentence in their plain form; `stops` are places that no cue reaches over.
"""

from __future__ import annotations

import re

from medvlp.text.location import SIDES
from medvlp.text.ontology import word_class

_STATED = re.compile(  # behind "no effusion,": "right pacemaker", "line in place", "4 mm nodule", "aorta enlarged"
    r"(\S+ )?(left|right|bilateral|bibasilar|bibasal|biapical) |.*\b(tip|place|situ|position)\b"
    r"|.+ (in|on|at) (the )?(left|right|lung base|base)\b"
    r"|(?!.*(than|over|>)).*\d [cm]m\b"
    r"|.*\b(enlarged|widened|elevated|flattened|blunted|dilated|tortuous|prominent|hyperinflated|collapsed"
    r"|tiny|trace|minimal|mild|small|moderate|large|severe)( in size)?( \.)?$"
)
_LONG_ITEM = 5  # words; a longer one between commas is a clause and no item of a list
_NEAR = 6  # words in front of a finding that can be its article


def forward_end(words: list[str], start: int, kind: str, said: str, stops: set[int]) -> int:
    """Return the place behind the last word that a forward cue governs; a condition minds no commas."""
    lists_on = word_class("differential").intersection(said.split())  # "the differential includes A, B and C"
    asked = kind == "conditional" and said.endswith((" for", "out", "r / o", "exclude"))
    for place in range(start, len(words)):
        word, first = words[place], place == start
        if place in stops or (asked and word in word_class("shows")):  # "CT to rule out an embolus shows pneumonia"
            return place
        if first and word == "and" and "if any" in said:  # "small, if any, and the heart ..."
            return place
        if word == "," and said in ("status post", "s / p"):  # "status post thoracentesis, left effusion"
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


def backward_start(words: list[str], place: int, said: str, stops: set[int]) -> int:
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


def denies_another(words: list[str], behind: int, finding: int, said: str) -> bool:
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
    compared = not {"than", "previously", "formerly"}.isdisjoint(inserted)
    return before - 1 if before > 0 and word_class("verbs").isdisjoint(inserted) and compared else place


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

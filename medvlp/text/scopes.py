"""How far a cue reaches: from "no" to the end of its list, from "is not seen" back to its subject."""

from __future__ import annotations

from medvlp.text.lexicon import word_class

_LONG_ITEM = 5  # words; a longer one between commas is a clause and no item of a list
_NEAR = 6  # words in front of a finding that can be its article


def forward_end(words: list[str], start: int, kind: str, said: str, stops: set[int]) -> int:
    """Return the place behind the last word that a forward cue governs.

    Args:
        words: of the sentence, plain.
        start: place behind the cue.
        kind: presence that the cue gives; a condition holds for the rest of the clause, commas or not.
        said: words of the cue.
        stops: places of words that end every scope.
    """
    lists_on = word_class("differential").intersection(said.split())  # "the differential includes A, B and C"
    for place in range(start, len(words)):
        word, first = words[place], place == start
        if place in stops:
            return place
        if kind == "conditional" or (word in (",", "and") and (first or lists_on)):
            continue
        if not first and (
            word in ("there", "without") or (word == "with" and words[place - 1] not in word_class("likened"))
        ):
            return place
        if kind == "absent" and place > start + 1 and word in word_class("states") and words[place - 1] != "to":
            return place
        if word == "," and not _list_goes_on(words, place, stops):
            return place
        if word == "and" and not _and_goes_on(words, place, stops):
            return place
    return len(words)


def backward_start(words: list[str], place: int, said: str, stops: set[int]) -> int:
    """Return the place before the first word that a backward cue at `place` governs."""
    verbs = word_class("verbs")
    place -= 1
    while place >= 0 and words[place] in word_class("auxiliaries"):
        place -= 1
        if words[place + 1] == ",":
            place = _before_insertion(words, place)
    joined = False
    trailing = said in ("if any", "if present", "if real")  # "effusions are small, if any"
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
            if not shared and not verbs.isdisjoint(_last_item(words[:place])):
                return place
            joined = True
        place -= 1
    return -1


def denies_another(words: list[str], behind: int, finding: int, said: str) -> bool:
    """Return whether a bare "no" denies something of a finding and not the finding: "no kink in the chest tube".

    Args:
        words: of the sentence, plain.
        behind: place of the last word of the cue.
        finding: place of the first word of the finding.
        said: words of the cue.
    """
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


def _list_goes_on(words: list[str], comma: int, stops: set[int]) -> bool:
    """Return whether what follows a comma is one more item of the list before it."""
    end = next((place for place in range(comma + 1, len(words)) if place in stops), len(words))
    rest = words[comma + 1 : end]
    verbs = word_class("verbs")
    if any(joint in rest and verbs.isdisjoint(rest[: rest.index(joint)]) for joint in ("or", "nor")):
        return True
    segment = _segment(words, comma + 1, stops)
    if segment and segment[0] == "and":
        return _and_goes_on(words, comma + 1, stops)
    return bool(segment) and segment[0] not in word_class("starters") and verbs.isdisjoint(segment)


def _and_goes_on(words: list[str], place: int, stops: set[int]) -> bool:
    """Return whether what follows "and" is denied (doubted ...) as well, or a clause of its own."""
    segment = _segment(words, place + 1, stops)
    if not segment or segment[0] in word_class("starters"):
        return False
    verb = next((index for index, word in enumerate(segment) if word in word_class("verbs")), None)
    return verb is None or not word_class("detected").isdisjoint(segment[verb + 1 : verb + 3])

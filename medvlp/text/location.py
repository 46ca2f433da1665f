"""Where a finding is, how much of it there is and how it has changed, as the words around it say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from medvlp.core.triplet import Side
from medvlp.text.ontology import Term, ancestors, lines, load, terms, word_class
from medvlp.text.phrases import Found, Phrases, Token

_KINDS = ("side", "anatomy", "severity", "change", "texture", "count")
_WHERE = frozenset(("side", "anatomy"))
_IN_FRONT_ONLY = frozenset(("severity", "texture", "count"))
_ADJECTIVE = re.compile(r"\W|\d|xxxx|^.{,3}$|(?:al|ar|ary|ous|ic|ior|ed|ive|th|ird|ond|irst|er)$")
CLEAR = frozenset(("clear", "normal", "unremarkable", "expanded", "aerated"))
_MILLIMETRES = {"mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0}
_NOT_A_SIZE = frozenset(("above", "below", "from", "proximal", "distal", "displacement", "beyond", "away"))
_FORMER = re.compile(  # in front of a size of an earlier film
    r"(^| )(prior|previous|previously|formerly|from|compared (to|with)|[,(] was)"
    r"( (of|at|about|approximately|measured|measuring|measurement|size|study|exam|ct))*$"
)
_NO_COUNT = frozenset(("x", "th", "/", "of", "view", "by", *_MILLIMETRES))
_GRADES = ("trace", "tiny", "minimal", "mild", "small", "moderate", "large", "massive", "severe")
_PREDICATE = re.compile(  # "on the right is now = moderate in size"
    r"(?:: |(?:(?:in|on|at|the|side|left|right|upper|mid|lower|base|lung|lobe|which|that) )*"
    r"(?:, (?:previously|formerly|which was) \w+ , )?(?:is|are|remain|appear) )?"
    rf"(?:(?:also|now|both|all|still|only|to|{'|'.join(_GRADES)}) )*= (?!\w+ly )\w+ (?:to \w+ )?"
    r"(?:(?:in|on|at|and|but|while|whereas|with|without|bilaterally) |\W|$)"
)
_BECOME = re.compile(  # in front of the grade of today: "has increased from small to", "which is now"
    r"(?:, )?(?:(?:and|which|that|it) )*(?:(?:has|have) )?(?:\w+ly )?"
    r"(?:(?:(?:in|de)creased|reduced|improved|progressed|worsened|enlarged|grown|become|is|are)(?: in size)? )?"
    rf"(?:(?:from (?:{'|'.join(_GRADES)}) )?to|become|(?:, |and )?(?:(?:is|are) )?now) $"
)
SIDES: dict[Side, Side] = {"left": "right", "right": "left"}  # and the other one
_SIDED = frozenset((*SIDES, "both", "bilateral"))
_EVENTS = frozenset(("due", "secondary", "removal", "placement", "development", "appearance", "resolution"))
_OF_PLACES = frozenset(("the", "a", "both", "upper", "lower", "mid", "medial", "lateral", "posterior", "anterior"))


@dataclass(frozen=True, slots=True)
class Place:
    """Side, lobe and other location words around a finding; see `medvlp.text.mentions.Mention`.

    `texture` is a word that is a grade for some findings: ``"patchy" | "confluent" | "dense"`` or empty.
    """

    side: Side = ""
    anatomy: str = ""
    severity: str = ""
    size_mm: float | None = None
    count: int | None = None
    change: str = ""
    texture: str = ""


@dataclass(frozen=True, slots=True)
class _Fact:
    kind: str
    value: str
    at: int


@cache
def _phrases(kind: str) -> Phrases[str]:
    return Phrases([(line, str(value)) for value, block in load("places")[kind].items() for line in lines(block)])


def places(tokens: tuple[Token, ...], terms: Sequence[Found[Term]], *, denied: Sequence[bool]) -> list[Place]:
    """Return what a sentence says of the place, size and course of each of its terms, some of which are denied."""
    words = [token.word for token in tokens]
    said: list[dict[str, list[str]]] = [{} for _ in terms]
    placed: set[int] = set()  # terms whose own place is said
    named: set[int] = set()  # terms whose side stands in front of them
    for fact in sorted(_facts(words, tokens, terms), key=lambda fact: fact.at):
        owners = _owners(fact, words, terms, denied)
        # "Edema and left effusion, small on the right" says no side of the edema; "left more than right" does.
        own = (
            fact.kind == "side" and not named.isdisjoint(owners[:1]) and "than" not in words[fact.at - 2 : fact.at + 4]
        )
        for place, index in enumerate(owners):
            elsewhere = fact.kind in _WHERE and place > 0 and (own or index in placed)  # joined, and somewhere
            # What is called left stays so, wherever a line's tip lies; no line is right for "the right atrium".
            behind = fact.at > terms[index].last and index in named and "than" not in words[fact.at - 2 : fact.at]
            tip = fact.kind == "side" and (behind or (_is_chamber(words, fact.at + 1) and is_device(terms[index])))
            become = fact.kind == "severity" and _BECOME.fullmatch(
                " ".join([*words[terms[index].last + 1 : fact.at], ""])
            )
            if become or (fact.kind in ("severity", "change") and words[fact.at - 1] == "now"):  # "large, now small"
                said[index].pop(fact.kind, None)
            if not elsewhere and not tip:
                said[index].setdefault(fact.kind, []).append(fact.value)
            if place == 0 and fact.kind in _WHERE and fact.value != "lung":
                placed.add(index)
            if fact.kind == "side" and fact.at < terms[index].first:
                named.add(index)
    for index in range(1, len(terms)):
        _inherit(said, index, words, terms)
    return [_place(each) for each in said]


def _facts(words: list[str], tokens: tuple[Token, ...], terms: Sequence[Found[Term]]) -> Iterator[_Fact]:
    used = {place for term in terms for place in term.at}
    ends = [tokens[term.last] for term in terms]
    several = any(each.end - each.start > len(each.word) for each in ends)  # "effusions", in plain form "effusion"
    for kind in _KINDS:
        for found in _phrases(kind).find(tokens):
            following = "".join(words[found.last + 1 : found.last + 2])
            beside = kind == "change" and (_compares_within(words, found) or following in ("aeration", "inspiration"))
            graded = kind == "severity" and following in word_class("graded_otherwise")  # "mildly displaced fracture"
            graded |= kind == "severity" and words[found.first - 1] in ("previously", "formerly")
            # "markedly improved edema" grades the course, "mildly increased heart size" the finding.
            course = kind == "severity" and words[found.last].endswith("ly") and following in word_class("altered")
            graded |= course and found.last + 1 not in used
            graded |= words[found.first - 1 : found.last + 2] == ["no", "trace", "of"]
            graded |= words[found.first - 1 : found.last + 1] == ["no", "gross"]  # none to be seen
            # "lung nodule" names no place: one that is said elsewhere in the sentence stands.
            named = kind == "side" or (kind == "anatomy" and found.values[0] != "lung")
            verb = kind == "side" and _is_verb(words, found.last)
            # "not increased" says nothing of a course where "increased" is a word of the finding.
            inside = used.intersection(found.at) if kind == "change" else used.issuperset(found.at)
            view = kind == "side" and _is_view(words, found.last + 1)
            bare = words[found.first] == "both" and (following in _parts() or following in ("", "."))
            view |= bare and words[found.first - 1] in ("or", "of")  # "atelectasis, edema or both"
            view |= words[0] == "none" and found.last < 4  # "none on the left, effusion on the right"
            if not (beside or graded or verb or view) and (named or not inside):
                both = several and kind == "side" and _is_larger_there(words, found.first)
                yield _Fact(kind, "bilateral" if both else found.values[0], found.first)
    for place, (word, following) in enumerate(zip(words, [*words[1:], ""], strict=True)):
        if word in _MILLIMETRES and place and _is_number(words[place - 1]):
            numbers = _numbers_before(words, place)
            if numbers and _NOT_A_SIZE.isdisjoint(words[place + 1 : place + 3]):
                yield _Fact("size", f"{max(numbers) * _MILLIMETRES[word]:.6g}", place)
        elif re.fullmatch("0*[2-9]", word) and following not in _NO_COUNT and not _is_row(words, place):
            yield _Fact("count", word, place)


def _is_larger_there(words: list[str], at: int) -> bool:
    """Return whether a side has the larger one of several: "effusions, larger on the left"."""
    ahead = [word for word in words[max(at - 3, 0) : at] if word != "the"][-2:]
    return ahead[1:] == ["on"] and ahead[0] in word_class("comparatives")


def _compares_within(words: list[str], found: Found[str]) -> bool:
    """Return whether "larger than right", "larger on the right", "larger than 5 mm" compares with no earlier film."""
    following, behind = words[found.last + 1 : found.last + 2], words[found.last + 2 : found.last + 5]
    side = not {"left", "right"}.isdisjoint(behind)
    if following == ["than"]:
        return side or not _MILLIMETRES.keys().isdisjoint(behind[1:2])
    return side and following == ["on"] and words[found.last] in word_class("comparatives")


def _is_verb(words: list[str], place: int) -> bool:
    """Return whether a word is no side but the verb of "drain left in place"; "on the left in place" has a side."""
    in_place = words[place : place + 3] in (["left", "in", "place"], ["left", "in", "situ"])
    return in_place and words[place - 1 : place] not in (["the"], ["on"])


def _is_chamber(words: list[str], place: int) -> bool:
    """Return whether a side is that of a chamber or vessel."""
    while place < len(words) and (words[place] == "or" or words[place] in word_class("regions")):
        place += 1
    return not word_class("of_heart").isdisjoint(words[place : place + 1])


def _is_view(words: list[str], place: int) -> bool:
    """Return whether a side is that of a view: "left lateral decubitus film"; "right clinical setting" has none."""
    while place < len(words) and words[place] in ("lateral", "anterior", "posterior", "oblique", "side", "down"):
        place += 1
    return not word_class("views").isdisjoint(words[place : place + 1])


def is_device(term: Found[Term]) -> bool:
    """Return whether a term names a device."""
    return any("support_devices" in ancestors(value.finding) for value in term.values)


def _numbers_before(words: list[str], unit: int) -> list[float]:
    """Return the numbers of "2.3 x 1.1 cm" or "5 and 8 mm"; none of "previously 9 mm", the last of "from 9 to 7 mm"."""
    numbers, first = [float(words[unit - 1])], unit - 1
    while first > 1 and words[first - 1] in ("x", "and", "to", "by", "-") and _is_number(words[first - 2]):
        if words[max(first - 3, 0) : first] == ["from", words[first - 2], "to"]:
            return numbers
        first -= 2
        numbers.append(float(words[first]))
    return [] if _FORMER.search(" ".join(words[max(first - 4, 0) : first])) else numbers


def _is_row(words: list[str], place: int) -> bool:
    """Return whether a number is the first of several, as in "5 and 8 mm"."""
    ahead = words[place + 1 : place + 3]  # of "3-4 mm" the mark is left out
    return any(map(_is_number, ahead[:1])) or (ahead[:1] in (["and"], ["to"], [","], ["-"]) and _is_number(ahead[-1]))


def _is_number(word: str) -> bool:
    return len(word) < 9 and word.replace(".", "", 1).isdecimal()


def _owners(fact: _Fact, words: list[str], terms: Sequence[Found[Term]], denied: Sequence[bool]) -> list[int]:
    """Return the terms that a fact belongs to."""
    at, hard = fact.at, word_class("hard_ends")
    inside = [index for index, term in enumerate(terms) if term.first <= at <= term.last]
    if inside:  # of "heart and mediastinum are normal" the place is a word of the second alone
        return [index for index in inside if at in terms[index].at] or inside
    start = next((place for place in range(at - 1, -1, -1) if words[place] in hard), -1)
    end = next((place for place in range(at, len(words)) if words[place] in hard), len(words))
    before = [index for index, term in enumerate(terms) if start < term.last < at]
    after = [index for index, term in enumerate(terms) if at < term.first <= end]
    first = terms[after[0]].first if after else 0
    apart = words[max(start, 0)] in word_class("exceptions") and "," in words[at:first]
    if apart and (denied[after[0]] or all(value.kind == "normal" for value in terms[after[0]].values)):
        after = []  # "apart from scarring on the left, the lungs are clear"
    if words[start] == "sparing" and (_parts() | {"and"}).isdisjoint(words[start + 1 : at]):
        return []
    if fact.kind in _WHERE and not before and (colon := _titles(words, start + 1, at)):
        ended = next((place for place in range(colon, len(words)) if words[place] in (".", ";", *_SIDED)), len(words))
        return [index for index, term in enumerate(terms) if term.last > colon and term.first < ended]
    if fact.kind in _WHERE and after and _is_of_clause_before(words, at, first):
        after = []
    develops = fact.kind == "change" and not _EVENTS.isdisjoint(words[at : at + 2]) and "of" in words[at + 1 : at + 3]
    belongs = after and (develops or _modifies(words, at, first) or _is_subject(words, at, first))
    if before and fact.kind in _WHERE and _is_of_event(words, terms[before[-1]].last + 1, at):
        return after[:1] if belongs else []
    heads = fact.kind == "side" and not before and words[at + 1 : at + 2] == [","] and _behind_preposition(words, at)
    if heads and SIDES.keys().isdisjoint(words[at + 1 : end]):
        return after  # "on the right, effusion and atelectasis"
    if belongs and not (before and _behind_preposition(words, at)):
        return after[:1]
    if after and fact.kind in _WHERE and _opens_clause(words, at):
        return after[:1]
    if fact.kind in _IN_FRONT_ONLY:  # or in apposition, or said of it: "effusion, small in size", "effusion is small"
        said = " ".join([*words[terms[before[-1]].last + 1 : at], "=", *words[at:], ""]) if before else ""
        graded = fact.kind == "severity" and (
            _PREDICATE.match(said) or (not belongs and _BECOME.fullmatch(said.partition("=")[0]))
        )
        lead = words[terms[before[-1]].last + 1 : at] if before else []  # "Effusion: small right", "right small"
        entered = lead[:1] in ([":"], ["("], ["-"], ["–"]) and {
            "left",
            "right",
            "bilateral",
            "present",
            "(",
        }.issuperset(lead[1:])
        return before[-1:] if words[at - 1 - (words[at - 1] == "now")] == "," or graded or entered else []
    ends = _parts() | word_class("same") | {"and", "of", "than"}
    last = next((place for place in range(at, end) if words[place] in ends), end)
    own = _is_own(words[last - 1]) or not CLEAR.isdisjoint(words[last + 1 : last + 2])
    opens = words[at - 1 - (words[at - 1] == "the")] in (",", "and")
    if fact.kind == "side" and before and own and opens and words[last : last + 1] != ["than"]:
        return []  # "nodule in the right lung, left mastectomy"
    alike = [index for index in before if denied[index] == denied[before[-1]]]  # "no edema, effusion on the left"
    return _coordinated(alike, words, terms) if before else after[:1]


def _titles(words: list[str], start: int, at: int) -> int:
    """Return the place of the colon behind a title with a side: "right lung: consolidation and atelectasis"; else 0."""
    colon = next((place for place in range(at + 1, min(at + 5, len(words))) if words[place] == ":"), 0)
    title = {*words[start:colon]}
    return colon if title & _SIDED and title <= _SIDED | _OF_PLACES | _phrases("anatomy").words | {"on", "in"} else 0


def _is_of_event(words: list[str], start: int, at: int) -> bool:
    """Return whether a place is that of an event that a finding came after: "edema post biopsy of the left lung"."""
    events = (place for place in range(start, at) if words[place] in ("after", "following", "post", "p"))
    return any("," not in words[place:at] and _ADJECTIVE.search(words[place + 1]) is None for place in events)


def _is_of_clause_before(words: list[str], at: int, first: int) -> bool:
    """Return whether another side has the term at `first`: "the right hilum is clear and the left base shows edema"."""
    for joint in range(at + 1, first):
        item, said = words[at + 1 : joint], SIDES.keys() & words[:joint]
        if words[joint] == "with" or (words[joint] in (",", "and") and "," not in item and any(map(_is_own, item))):
            own = (place for place in range(joint, first) if words[place] in SIDES.keys() - said)
            return len(said) == 1 and any(_modifies(words, at, first) or _is_subject(words, at, first) for at in own)
    return False


@lru_cache(maxsize=1 << 16)  # words of any report
def _is_own(word: str) -> bool:
    """Return whether a word makes a statement with the side in front of it: a verb, or a noun that is no place."""
    known = terms().words | _phrases("anatomy").words | word_class("regions") | {*_GRADES, "only", "alone"}
    noun = (word not in known or word == "hemidiaphragm" or word.endswith("ing")) and _ADJECTIVE.search(word) is None
    return noun or word in CLEAR | word_class("verbs")


def _coordinated(before: list[int], words: list[str], terms: Sequence[Found[Term]]) -> list[int]:
    """Return the last of some terms and those that are joined to it: "effusion and atelectasis on the left"."""
    owners, ends = [before[-1]], (_parts() | {"of"}).difference((",", "or"))
    for index in reversed(before[:-1]):
        between = words[terms[index].last + 1 : terms[owners[-1]].first]
        if not ends.isdisjoint(between):
            break
        owners.append(index)
    return owners


@cache
def _parts() -> frozenset[str]:
    """Return the words that do not stand between an adjective and its noun."""
    marks = (",", ";", ":", "(", ")", "with", "without", "no", "or")
    return frozenset((*marks, *word_class("prepositions"), *word_class("verbs")))


def _behind_preposition(words: list[str], at: int) -> bool:
    """Return whether a place is that of a phrase like "in the left lower lobe"."""
    back = words[max(0, at - 3) : at]
    while back and (back[-1] in _OF_PLACES or back[-1] in ("left", "right")):
        back.pop()
    own = _EVENTS.isdisjoint(back[-2:-1])  # not "due to left effusion"
    return bool(back) and own and (back[-1] == "of" or back[-1] in word_class("prepositions"))


def _modifies(words: list[str], at: int, first: int) -> bool:
    """Return whether a word stands in front of a term as one of its adjectives."""
    between = words[at + 1 : first]
    for place, word in enumerate(between, at + 1):
        opens = at == 0 or words[at - 1] in ("a", "an", "with", "and", ".", ";")
        if _joins_grades(words, place) or (opens and word == "," and place == at + 1):  # "small, loculated effusion"
            continue
        if word in _parts() or (word == "of" and words[place - 1] not in word_class("amounts")):
            return False
        following = words[place + 1] if place + 1 < first else ""
        apart = place == at + 1 and words[at] in word_class("predicates")  # "left nodule stable and right mass"
        if word == "and" and (apart or following not in ("left", "right", "upper", "lower", "mid", "middle")):
            return False
    return True


def _joins_grades(words: list[str], place: int) -> bool:
    """Return whether grades are joined: "moderate to large", not "from large to small"."""
    grades = [_GRADES.index(word) for word in (words[place - 1], words[place + 1]) if word in _GRADES]
    return words[place] == "to" and len(grades) == 2 and grades[0] < grades[1]


def _opens_clause(words: list[str], at: int) -> bool:
    """Return whether a place stands in front of what it has: "... and on the left there is a nodule"."""
    return words[at + 1 : at + 2] in (["a"], ["an"]) or words[at + 1 : at + 3] in (["there", "is"], ["there", "are"])


def _is_subject(words: list[str], at: int, first: int) -> bool:
    """Return whether a place shows or has a term: "... and the right lung shows a nodule"."""
    between = words[at + 1 : first]
    verb = next((place for place, word in enumerate(between) if word in _parts()), len(between))
    has = between[verb : verb + 2] in (["has", "a"], ["has", "an"], ["have", "a"])
    return has or not word_class("shows").isdisjoint(between[verb : verb + 1])


def _inherit(said: list[dict[str, list[str]]], index: int, words: list[str], terms: Sequence[Found[Term]]) -> None:
    """Give a finding what is said of an earlier one that it explains or accompanies."""
    first = terms[index].first
    apart, same, beside = (
        next((at for at in range(first - 1, -1, -1) if words[at] in those), -1)
        for those in (word_class("apart") | word_class("hard_ends"), word_class("same"), word_class("beside"))
    )
    for earlier in range(index - 1, -1, -1):
        last = terms[earlier].last
        if last < apart:
            return
        if any(value.finding == "mediastinal_shift" for value in terms[earlier].values):
            continue  # it has a direction, and no place
        # "opacity in the left base, likely atelectasis", "left basilar opacity/atelectasis"
        explains = last < same or (last == first - 2 and words[first - 1] == "/")
        if explains or last < beside:
            for kind in ("side", "anatomy", "severity", "texture") if explains else ("side",):
                if kind in said[earlier]:
                    said[index].setdefault(kind, said[earlier][kind])


def _place(said: dict[str, list[str]]) -> Place:
    sides = set(said.get("side", ()))
    side: Side = ""
    if "bilateral" in sides or {"left", "right"} <= sides:
        side = "bilateral"
    elif sides:
        side = "left" if "left" in sides else "right"
    grades = [grade for grade in ("severe", "moderate", "mild") if grade in said.get("severity", ())]
    named = said.get("anatomy", [])
    lobes = [name for name in named if name.endswith((" lobe", "mid lung"))]
    anatomy = lobes or [name for name in named if name != "lung"] or named
    sizes = [float(size) for size in said.get("size", ())]
    counts = said.get("count", ())
    return Place(
        side=side, anatomy=anatomy[-1] if anatomy else "", severity=grades[0] if grades else "",
        size_mm=max(sizes) if sizes else None, count=int(counts[-1]) if counts else None,
        change=said.get("change", [""])[0], texture=said.get("texture", [""])[0],
    )  # fmt: skip

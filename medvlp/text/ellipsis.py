"""A finding that a clause leaves out is written into it: "effusion cleared on the right but persists on the left".

A report names a finding once and goes on to speak of it: of the other side, of "one", of "none". Each rule is a pattern
over the plain words of a sentence, and what it makes of the words where it matches; the empty or the only group of the
pattern is the place where the finding goes. Behind all of them each clause can be read by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

from medvlp.text.location import SIDES, is_device
from medvlp.text.ontology import Term, terms, word_class
from medvlp.text.phrases import Found, Token
from medvlp.text.sentences import ANSWER

_GRADE = "tiny|trace|minimal|mild|small|moderate|large|sizable|gross"
_SIDE = "(?:left|right)(?: sided)?"
_ON = rf"(?:in|on|at) (?:the )?{_SIDE}(?!\S)"
_JOINT = r"(?<![^ ])(?:but|and|,|;|while|whereas)(?: the)? "
_SEEN = "seen|identified|noted|present|visible|visualized|evident"
_LIKE = f"a|only|new|resolved|stable|unchanged|(?:improv|worsen|increas|decreas)(?:ed|ing)|{_GRADE}"
_AREA = "upper|mid|middle|lower|lung|lobe|zone|base|basilar|basal|apical|hilar|perihilar|pleural|space|side"
_PLACED = rf"{_SIDE}(?: (?:{_AREA}))*"
_SIZE = r"\d+(?:\.\d+)? [cm]m"
_COURSE = "improved|increased|decreased|worsened|progressed|unchanged|stable|resolved|cleared|gone|removed"
_TUBE = "endotracheal|et|nasogastric|ng|orogastric|enteric|feeding|chest|tracheostomy"
_BONE = "clavicle|scapula|sternum|humerus|rib"
_WHICH = (
    r"(?:(?:of|the|left|right|several|multiple|anterior|posterior|lateral|medial|distal|proximal|mid|old|healed|\d+"
    r"|st|nd|rd|first|second|third|(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf)?th) )*"
)
_LED = re.compile(": (?:un)?ticked")  # by a box, the answers of a title
_ANSWERS = re.compile(rf"(?:{_GRADE}|none|no|absent|clear|normal)\Z")
_CLOSED = ("none", "no", "absent", "negative", "normal", "clear", "yes", "present")  # an answer that has no side
_OF_ANOTHER = frozenset(("than", "to", "from", "into", "clear", "normal", "unremarkable"))


@dataclass(frozen=True, slots=True)
class _Gap:
    """Where a pattern matches, `start` to `end`; the finding goes to `at`, in place of the words up to `behind`."""

    group: int
    tokens: tuple[Token, ...]
    found: list[Found[Term]]
    start: int
    at: int
    behind: int
    end: int

    @classmethod
    def of(cls, match: re.Match[str], tokens: tuple[Token, ...]) -> _Gap:
        group = match.lastindex or 0
        start, at, end = (match.string.count(" ", 0, each) for each in (match.start(), match.start(group), match.end()))
        return cls(group, tokens, terms().find(tokens), start, at, at + len(match[group].split()), end)

    @property
    def words(self) -> list[str]:
        return [token.word for token in self.tokens]

    def subject(self) -> Found[Term] | None:
        """The last finding in front of the match."""
        return next((term for term in reversed(self.found) if term.last < self.start), None)

    def filled(self, subject: Found[Term] | None, lead: Iterable[Token] = ()) -> tuple[Token, ...]:
        """The sentence with a finding, if there is one, put in, and words in front of it."""
        if subject is None:
            return self.tokens
        named = self.tokens[subject.first : subject.last + 1]
        return (*self.tokens[: self.at], *lead, *named, *self.tokens[self.behind :])

    def mark(self, word: str) -> list[Token]:
        return [replace(self.tokens[self.at], word=word)]


def with_subjects(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Return the tokens of a sentence with the findings that its clauses leave out.

    Example:
        >>> from medvlp.text.phrases import tokens_of
        >>> for said in ("Effusion cleared on the right but persists on the left", "Right but no left effusion"):
        ...     print(*(token.word for token in with_subjects(tokens_of(said))))
        effusion cleared on the right but effusion persist on the left
        right effusion but no left effusion
    """
    tokens = _answered(_titled(tokens))
    for pattern, rule in _RULES:
        end = [] if tokens and not tokens[-1].word.isalpha() else ["."]  # as a sentence has that lost its full stop
        for match in reversed([*pattern.finditer(" ".join([*(token.word for token in tokens), *end]))]):
            tokens = rule(_Gap.of(match, tokens))
    return tokens


def _titled(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """A stop between a finding and its answer is a colon, "Effusion. Small left."; commas of a title are "and"."""
    words, start, said = [token.word for token in tokens], 0, list(tokens)
    for stop in (place for place, word in enumerate(words[:-1]) if word in (".", ":", "?")):
        named = [term for term in terms().find(tokens[start:stop]) if term.values[0].kind == "term"]
        title = {start + at for term in named for at in term.at}
        commas = {at for at in range(start, stop) if words[at] == ","} if words[stop] == ":" else set[int]()
        whole = bool(title) and all(at in title or words[at] in ("and", "or") for at in {*range(start, stop)} - commas)
        if whole and words[stop] == ":":
            said = [replace(token, word="and") if at in commas else token for at, token in enumerate(said)]
        elif whole and ANSWER.match(" ".join(words[stop + 1 :])):
            said[stop] = replace(tokens[stop], word=":")
        start = stop + 1
    for at in range(2, len(words) - 1):  # "Effusion: R small, L none"
        if words[at] in ("l", "r", "lt", "rt") and words[at - 1] in (":", ",", ";") and _ANSWERS.match(words[at + 1]):
            said[at] = replace(tokens[at], word="left" if words[at][0] == "l" else "right")
    sided = {  # "Effusion: left: small, right: none"
        place
        for place, word in enumerate(words)
        if word in (":", "-", "–") and words[place - 1] in SIDES and words[place - 2] in (":", ",", ";") and place > 2
    }
    return tuple(token for place, token in enumerate(said) if place not in sided)


def _answered(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Part titles that share a line, and leave out what is not ticked: "Effusion: [ ] Edema: [ ] none [x] mild"."""
    words, starts = [token.word for token in tokens], [0]
    found = terms().find(tokens) if {":", "ticked", "unticked"} & {*words} else []
    for term in (each for each in found if each.first):
        before = " ".join(words[starts[-1] : term.first - (words[term.first - 1] in SIDES)])
        title = ":" in words[term.first : term.last + 2] and not before.endswith(":")
        denied = words[starts[-1]] == "no" and before.endswith(",")  # "no edema, effusion: small"
        if title and (": " in before or "ticked" in before or denied):
            single = before.count("ticked") == 1 or not _LED.search(before)  # "Edema: [ ] left effusion: [x]"
            own = single if before.endswith("ticked") else before.endswith(_CLOSED)
            starts.append(term.first - (own and words[term.first - 1] in SIDES))
    said = list(_ticked(tokens[starts[-1] :]))
    for start, end in reversed([*pairwise(starts)]):
        last = end - (words[end - 1] in ("/", "|", ","))
        said = [*_ticked(tokens[start:last]), replace(tokens[end - 1], word=";"), *said]
    return tuple(said)


def _ticked(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Leave out the answers of one title that are not ticked: "Effusion: [x] none [ ] small", "none [x] small [ ]"."""
    words, found = [token.word for token in tokens], terms().find(tokens)
    first = next((place for place, word in enumerate(words) if word.endswith("ticked")), 0)
    opens = words.index(":") + 1 if ":" in words[:first] else first
    leads = 0 < opens == first and (words[first - 1] == ":" or any(term.last == first - 1 for term in found))
    trails = opens < first and (words[-1].endswith("ticked") or words[-2].endswith("ticked"))
    named = any(term.first >= opens for term in found) and (leads or any(term.last < opens for term in found))
    if not (leads or trails) or named or (leads and "ticked" not in words):
        return tokens
    if "ticked" not in words:
        return (*tokens[:opens], tokens[first])
    said, ticked = list[Token](), True
    for token in reversed(tokens[opens:]) if trails else tokens[opens:]:
        ticked = token.word != "unticked" if token.word.endswith("ticked") or token.word in (".", ";") else ticked
        said += [token] if ticked and token.word != "ticked" else []
    return (*tokens[:opens], *(reversed(said) if trails else said))


def _of_each(gap: _Gap) -> tuple[Token, ...]:
    """One word of two: "fracture of the left clavicle and right rib", "ET and left chest tubes"."""
    ahead = gap.words[gap.start] == "fracture"
    if not ahead and "fracture" in gap.words[max(gap.start - 4, 0) : gap.start]:
        return gap.tokens
    named = gap.tokens[gap.start if ahead else gap.end]
    return (*gap.tokens[: gap.at], named, *gap.tokens[gap.at :])


def _around_heart(gap: _Gap) -> tuple[Token, ...]:
    """What the pericardium holds is no pleural effusion: "Pericardium: small effusion"."""
    return (*gap.tokens[: gap.at], *gap.mark("pericardial"), *gap.tokens[gap.at :])


def _measured(gap: _Gap) -> tuple[Token, ...]:
    """Each of several has its place and size: "two nodules: 4 mm in the LUL and 7 mm in the RLL"."""
    words, subject, before = gap.words, gap.subject(), gap.words[gap.start - 1]
    if subject is None or words[subject.last + 1] not in (":", ",", "measuring") or subject.last > gap.start - 2:
        return gap.tokens
    several = sum(word in ("mm", "cm") for word in words[subject.last :]) > 1
    opens = subject.last == gap.start - 2  # the first: what is said in front of all of them stays with the title
    if not several or before not in (":", ",", ";", "and", "measuring") or (opens and not subject.first):
        return gap.tokens
    return gap.filled(subject, gap.mark(";"))


def _named_behind(gap: _Gap) -> tuple[Token, ...]:
    """Sides that are not alike: "new left and resolved right effusion", "a left but no right one"."""
    words, tokens, end = gap.words, gap.tokens, gap.end
    # No other place takes the side: "opacity in the right, not the left lung".
    own = gap.group == 1 or words[gap.start - 1 - (words[gap.start - 1] == "the")] not in word_class("prepositions")
    own &= words[end - 1] != "," or words[end] not in word_class("verbs")
    near = (term for term in gap.found if own and term.last >= end and term.first <= end + 1)
    if (subject := next(near, None)) is None:
        return tokens
    within = (token for token in tokens[gap.at : end] if token.word != ",")
    return (*tokens[: gap.at], *tokens[subject.first : subject.last + 1], *within, *tokens[end:])


def _said_behind(gap: _Gap) -> tuple[Token, ...]:
    """What was inserted goes behind its clause: "the right, not the left, lung shows", "but not the left one, has"."""
    tokens, at = gap.tokens, gap.at
    clause = tokens[at + (tokens[at].word == ",") : gap.end]
    return (*tokens[: gap.start], *clause, *tokens[gap.start : at], *tokens[gap.end :])


def _course_denied(gap: _Gap) -> tuple[Token, ...]:
    """A course alone is denied: "has resolved on the right but not on the left"."""
    soon, subject = range(gap.at + 1, gap.at + 5), gap.subject()
    if "one" in gap.words[gap.at : gap.at + 4] or any(term.first in soon for term in gap.found):
        return gap.tokens if subject is None else (*gap.tokens[: gap.at], *gap.tokens[gap.behind :])
    return gap.filled(subject)


def _lost(gap: _Gap) -> tuple[Token, ...]:
    """What both sides had and one has lost: "bilateral effusions, now resolved on the left"."""
    subject = gap.subject()
    return gap.filled(subject, gap.mark(";")) if subject and _are_both(gap.words, subject, gap.start) else gap.tokens


def _stood_for(gap: _Gap) -> tuple[Token, ...]:
    """What stands for one: "a small one on the left", "while that on the left", "on the left it is"."""
    return gap.filled(gap.subject(), (token for token in gap.tokens[gap.at : gap.behind] if token.word in SIDES))


def _none(gap: _Gap) -> tuple[Token, ...]:
    """There is none of it: "with none on the left", "but not the left"."""
    return gap.filled(gap.subject(), gap.mark("no"))


def _more(gap: _Gap) -> tuple[Token, ...]:
    """More is said of it: "but persists on the left", "the left is", "left stable", "small on the left"."""
    subject = gap.subject()
    return gap.filled(subject) if subject and _is_left_out(gap, subject) else gap.tokens


_Rule: TypeAlias = Callable[[_Gap], tuple[Token, ...]]
_RULES: tuple[tuple[re.Pattern[str], _Rule], ...] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (
            rf"(?<![^ ])fracture {_WHICH}(?P<bone>{_BONE}) and (){_WHICH}(?!(?P=bone))(?:{_BONE})(?! fracture)(?!\S)"
            rf"|(?<![^ ])(?P<other>{_BONE}) ()and {_WHICH}(?!(?P=other))(?:{_BONE}) fracture(?!\S)"
            rf"|(?<![^ ])(?:pleural|pericardial) ()and (?:(?:{_LIKE}|{_SIDE}) )+(?:pleural|pericardial) effusion(?!\S)"
            rf"|(?<![^ ])(?:{_TUBE}) ()(?:and|or) (?:(?:{_LIKE}|{_SIDE}) )*(?:{_TUBE}) tube(?!\S)",
            _of_each,
        ),
        (rf"(?<![^ ])pericardium : (?:(?:no|{_LIKE}) )*()(?=effusion(?!\S))", _around_heart),
        (
            rf"(?<![^ ])()(?={_SIZE} (?:(?:in|at|on) )?(?:the )?(?:{_PLACED}|lingula)(?: [,.;]| and |$))"
            rf"|(?<![^ ])()(?={_PLACED} (?:, )?{_SIZE}(?: [,.;]| and |$))",
            _measured,
        ),
        (
            rf"(?<![^ ])(?:(?:no|{_LIKE}) {_SIDE} ()(?:, )?(?:but|and|,)(?: (?:no|not|to|{_LIKE}))+ {_SIDE} (?:, )?"
            rf"|{_PLACED} ()(?:(?:, )?(?:but|and) (?:no|not)|, not|rather than)(?: (?:the|{_LIKE}))* {_PLACED} (?:, )?"
            rf"|(?:no|not) {_PLACED} ()(?:, )?but {_PLACED} )",
            _named_behind,
        ),
        (
            rf"(?<![^ ])(?:, )?(?:but )?not (?:the )?{_SIDE}(?: \w+){{0,3}}? "
            r"((?:, |(?=(?:is|are|has|have) ))(?:(?![.,;] )\S+ )+)",
            _said_behind,
        ),
        (
            rf"(?<![^ ])(?:{_COURSE})(?: (?:on|in|at|the|side|{_SIDE}))*(?: ,| but| , but) (not) "
            rf"(?=(?:(?:on|in|at) )?(?:the )?{_PLACED}(?!\S))",
            _course_denied,
        ),
        (
            r"(?<![^ ])()(?:(?:which|that|has|have|is|are|now|since) )*"
            rf"(?:resolved|cleared|gone|removed|absent|(?:no longer|not) (?:{_SEEN})) {_ON}",
            _lost,
        ),
        (
            rf"(?<![^ ])(?:{_SIDE}|new|similar|{_GRADE})(?: \w+(?:al|or|ed))? (one)(?! [cm]m\b)(?!\S)"
            rf"|{_JOINT}(?:there (?:is|are) )?(that|those|one)(?= {_ON})"
            rf"|(?<![^ ])({_ON}(?: side)?(?: ,)? it)(?= (?:persist|remain|is|has)(?!\S))"
            r"|(?<![^ ])(?:other than|except|save|exception of|(?:apart|aside) from)"
            rf"(?: (?:for|a|amount|possible|{_GRADE}))* ()(?={_ON})",
            _stood_for,
        ),
        (
            rf"(?:{_JOINT}|(?<![^ ])with )(?:there (?:is|are) )?(?:\w+ly )?"
            rf"(?:((?:none|not|absent)(?: is| are)?(?: (?:{_SEEN}))?)(?= {_ON})|(not)(?= (?:the )?{_PLACED} \W))",
            _none,
        ),
        (
            rf"{_JOINT}(?:{_SIDE} )?()(?=(?:persist|remain|is|are|has|have|did not|cannot be"
            rf"|not (?:excluded|{_SEEN}))(?!\S)|(?:{_COURSE}|absent|none|present) (?:(?:in|on|at) |[,.;]))"
            rf"|{_JOINT}{_SIDE} ()(?=(?:{_GRADE}) [,.;])"
            rf"|{_JOINT}(?:a )?(?:{_GRADE}) ()(?=(?:{_ON}|{_SIDE})(?: side)? (?:[,.;]|(?:and|but|while) ))",
            _more,
        ),
    )
)


def _is_left_out(gap: _Gap, subject: Found[Term]) -> bool:
    """Return whether the clause behind a joint is one of the other side, without a finding of its own."""
    words, joint = gap.words, gap.start
    clause = re.split(r"[,;.(]|\b(?:and|but)\b", " ".join(words[joint + 1 :]))[0].split()
    own = any(joint < term.first <= joint + len(clause) for term in gap.found)
    if own or not _OF_ANOTHER.isdisjoint(clause) or (is_device(subject) and words[gap.at - 1] not in SIDES):
        return False
    said, other = SIDES.keys() & words[max(subject.first - 4, 0) : joint], SIDES.keys() & clause
    one = len(other) == 1 and (len(said) == 1 or _are_both(words, subject, joint))
    return (one and said != other) or not {"cannot", "excluded"}.isdisjoint(words[gap.at : gap.at + 2])


def _are_both(words: list[str], subject: Found[Term], joint: int) -> bool:
    """Return whether a finding in front of a joint is one of both sides, of which no more is said."""
    both = {"bilateral", "both", "bibasilar", "biapical"} & {*words[max(subject.first - 4, 0) : subject.first]}
    return bool(both) and (word_class("verbs") | SIDES.keys()).isdisjoint(words[subject.first : joint])

"""A report -> what it says of each finding: whether it is there, where, how much, and how it has changed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

from medvlp.core.triplet import Side
from medvlp.text.assertion import Presence, assertions
from medvlp.text.blanks import plain_lines
from medvlp.text.language import is_english
from medvlp.text.location import SIDES, is_device, places
from medvlp.text.ontology import Term, findings, respelt, terms, word_class
from medvlp.text.phrases import Found, Token, longest, tokens_of
from medvlp.text.sections import report_text, section_spans
from medvlp.text.sentences import sentence_spans

NOT_ENGLISH = "A report is not in English: only English reports can be read, so it gives no labels."
_BEFORE = frozenset(("indication", "comparison", "exam", "technique"))  # written before the picture was looked at
_LONGEST = 200  # words of a sentence that are read together: the time grows with their square
_GRADE = "tiny|trace|minimal|mild|small|moderate|large"
_SIDE = "(?:left|right)(?: sided)?"
_ON = rf"(?:in|on|at) (?:the )?{_SIDE}(?!\S)"
_JOINT = r"(?<![^ ])(?:but|and|,|;|while|whereas)(?: the)? "
_SEEN = "seen|identified|noted|present|visible|visualized|evident"
_LIKE = f"a|new|resolved|stable|unchanged|(?:improv|worsen|increas|decreas)(?:ed|ing)|{_GRADE}"
_AREA = "upper|mid|middle|lower|lung|lobe|zone|base|basilar|basal|apical|hilar|perihilar|pleural|space|side"
_PLACED = rf"{_SIDE}(?: (?:{_AREA}))*"
# Sides that are not alike: "new left and resolved right effusion", "a left but no right one", "right, not left, one".
_PAIR = re.compile(
    rf"(?<![^ ])(?:(?:no|{_LIKE}) {_SIDE} ()(?:but|and)(?: (?:no|not|{_LIKE}))+ {_SIDE} "
    rf"|{_PLACED} ()(?:(?:, )?(?:but|and) (?:no|not)|, not|rather than)(?: (?:the|{_LIKE}))* {_PLACED} (?:, )?"
    rf"|(?:no|not) {_PLACED} ()(?:, )?but {_PLACED} )"
)
_COURSE = "improved|increased|decreased|worsened|progressed|unchanged|stable|resolved|cleared|gone|removed"
_INSERTED = re.compile(  # said behind its clause: "the right, not the left, lung shows", "but not the left one, has"
    rf"(?<![^ ])(?:, )?(?:but )?not (?:the )?{_SIDE}(?: \w+){{0,3}}? "
    r"((?:, |(?=(?:is|are|has|have) ))(?:(?![.,;] )\S+ )+)"
)
_BUT_NOT = re.compile(  # of a course it denies the course alone: "has resolved on the right but not on the left"
    rf"(?<![^ ])(?:{_COURSE})(?: (?:on|in|at|the|side|{_SIDE}))*(?: ,| but| , but) (not) "
    rf"(?=(?:(?:on|in|at) )?(?:the )?{_PLACED}(?!\S))"
)
_PARTLY = re.compile(  # what both sides had and one has lost: "bilateral effusions, now resolved on the left"
    r"(?<![^ ])()(?:(?:which|that|has|have|is|are|now|since) )*"
    rf"(?:resolved|cleared|gone|removed|absent|(?:no longer|not) (?:{_SEEN})) {_ON}"
)
_AGAIN = re.compile(  # what stands for one: "a small one on the left", "while that on the left", "on the left it is"
    rf"(?<![^ ])(?:{_SIDE}|new|similar|{_GRADE}) (one)(?! [cm]m\b)(?!\S)|{_JOINT}(that|those)(?= {_ON})"
    rf"|(?<![^ ])({_ON}(?: side)?(?: ,)? it)(?= (?:persist|remain|is|has)(?!\S))"
    rf"|(?<![^ ])(?:other than|except|exception of|(?:apart|aside) from)(?: (?:for|a|amount|possible|{_GRADE}))* ()"
    rf"(?={_ON})"
)
_NONE = re.compile(
    rf"(?:{_JOINT}|(?<![^ ])with )(?:((?:none|not|absent)(?: (?:{_SEEN}))?)(?= {_ON})|(not)(?= (?:the )?{_PLACED} \W))"
)
_MORE = re.compile(  # where none stands: "but persists on the left", "the left is", "left stable", "small on the left"
    rf"{_JOINT}(?:{_SIDE} )?()(?=(?:persist|remain|is|are|has|have|did not|cannot be|not (?:{_SEEN}))(?!\S)|(?:"
    rf"{_COURSE}|absent|none|present) (?:(?:in|on|at) |[,.;]))|{_JOINT}{_SIDE} ()(?=(?:{_GRADE}) [,.;])"
    rf"|{_JOINT}(?:a )?(?:{_GRADE}) ()(?=(?:{_ON}|{_SIDE})(?: side)? [,.;])"
)
_OF_ANOTHER = frozenset(("than", "to", "from", "into", "clear", "normal", "unremarkable"))


@dataclass(frozen=True, slots=True)
class Mention:
    """One statement about a finding.

    Attributes:
        finding: key of the ontology.
        presence: as the sentence asserts it.
        side: the patient's side; empty where none is said.
        anatomy: where, e.g. ``"lower lobe"``; empty where none is said.
        severity: ``"mild" | "moderate" | "severe"`` or empty.
        size_mm: the size said, in mm.
        count: the number said ("two nodules"); None where none is.
        change: ``"new" | "stable" | "improved" | "worse"`` or empty.
        text: the words that name the finding, as written.
        start: of these words in the report.
        end: behind them.
        sentence: in which they stand, white space made single.
        section: canonical name, or empty.
        cue: the words that decided on `presence`, in plain form; empty where nothing did.
    """

    finding: str
    presence: Presence
    side: Side
    anatomy: str
    severity: str
    size_mm: float | None
    count: int | None
    change: str
    text: str
    start: int
    end: int
    sentence: str
    section: str
    cue: str = ""


def read_report(text: str, *, sections: tuple[str, ...] = ("findings", "impression")) -> tuple[Mention, ...]:
    """Return what a report says of each finding, in the order of the text.

    Args:
        text: the whole report.
        sections: canonical names of the sections that are read; where the report has none of them, the text that
            `medvlp.text.sections.report_text` falls back on.

    Returns:
        The mentions; none, and a warning, for a report in another language than English.

    Example:
        >>> for mention in read_report("Small left pleural effusion. No pneumothorax."):
        ...     print(mention.finding, mention.presence, mention.side, mention.severity)
        effusion present left mild
        pneumothorax absent
    """
    mentions, text = list[Mention](), plain_lines(text)
    for start, end, section, before in read_sentences(text, sections=sections):
        mentions += mentions_of_sentence(text, start, end, section, before=before)
    return tuple(mentions)


def read_sentences(
    text: str, *, sections: tuple[str, ...] = ("findings", "impression")
) -> Iterator[tuple[int, int, str, bool]]:
    """Yield (start, end, section, whether it was written before the picture was looked at) of each sentence.

    Example:
        >>> list(read_sentences("Clear lungs. No effusion."))
        [(0, 12, '', False), (13, 25, '', False)]
    """
    if not is_english(text):
        warnings.warn(NOT_ENGLISH, stacklevel=3)
        return
    text = plain_lines(text)
    chosen = report_text(text, sections)
    early = frozenset[str]() if chosen.fell_back else _BEFORE
    for name, start, end in section_spans(text):
        if name in chosen.used:
            for first, last in sentence_spans(text[start:end]):
                yield start + first, start + last, name, name in early


def sentences_of_image(report: str) -> list[str]:
    """Return the sentences of findings and impression that describe the image, none of the history before it.

    Example:
        >>> sentences_of_image("INDICATION: Cough. FINDINGS: Clear lungs. No effusion.")
        ['Clear lungs.', 'No effusion.']
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a report in another language has none that is read
        report = plain_lines(report)
        return [report[start:end] for start, end, _, before in read_sentences(report) if not before]


def mentions_of_sentence(text: str, start: int, end: int, section: str, *, before: bool) -> list[Mention]:
    """Return the mentions of one sentence of a text; `before` makes history of what is said to be there."""
    words = text[start:end]
    sentence = " ".join(words.split())
    stretches = _stretches(tokens_of(words))
    return [each for tokens in stretches for each in _of_stretch(text, start, tokens, sentence, section, before=before)]


def _stretches(tokens: tuple[Token, ...]) -> Iterator[tuple[Token, ...]]:
    """Yield the words of a sentence, cut behind a mark where there are more than are read together."""
    while len(tokens) > _LONGEST:
        words = [token.word for token in tokens[:_LONGEST]]
        cut = next((_LONGEST - words[::-1].index(mark) for mark in (".", ";", ",") if mark in words), _LONGEST)
        yield tokens[:cut]
        tokens = tokens[cut:]
    yield tokens


def _of_stretch(
    text: str, start: int, tokens: tuple[Token, ...], sentence: str, section: str, *, before: bool
) -> list[Mention]:
    tokens = _with_subjects(tuple(replace(token, word=respelt(token.word)) for token in tokens))
    found = _found(tokens)
    mentions: list[Mention] = []
    asserted = assertions(tokens, found)
    placed = places(tokens, found, denied=[each.presence == "absent" for each in asserted])
    for term, assertion, place in zip(found, asserted, placed, strict=True):
        first, last = start + tokens[term.first].start, start + tokens[term.last].end
        named = tokens_of(text[first:last])
        for value in term.values:
            presence = _presence(value, assertion.presence)
            if presence == "historical" and place.change and assertion.cue in word_class("prior"):
                presence = "present"  # the prior effusion is unchanged: it is there
            if presence is None:
                continue
            finding = findings()[findings()[value.finding].at.get(place.anatomy, value.finding)]
            mentions.append(
                Mention(
                    finding=finding.key, presence="historical" if before and presence == "present" else presence,
                    side=place.side if finding.sided else "", anatomy=place.anatomy,
                    severity=place.severity or finding.grades.get(place.texture, ""), size_mm=place.size_mm,
                    count=place.count, change=place.change, text=text[first:last], start=first, end=last,
                    sentence=sentence, section=section,
                    cue=assertion.cue or ("" if value.kind == "term" else " ".join(token.word for token in named)),
                )
            )  # fmt: skip
    return [_completed(mention, mentions[:place], mentions[place:]) for place, mention in enumerate(mentions)]


def _found(tokens: tuple[Token, ...]) -> list[Found[Term]]:
    """Return the terms, also what shares a predicate: "heart size and mediastinal contours are normal"."""
    words = [token.word for token in tokens]
    every = terms().every(tokens)
    found = longest(every)
    for each in sorted(every, key=lambda each: -len(each.at)):
        subject = set(each.at).difference(*(term.at for term in found))
        last = next((term for term in found if term.at[-1] == each.at[-1] and each.first < term.first), each)
        ahead = words[each.first : last.first]
        alike = last is not each and {value.kind for value in (*each.values, *last.values)} == {"normal"}
        if alike and len(subject) == sum(at < last.first for at in each.at) and word_class("verbs").isdisjoint(ahead):
            found.append(each)
    return sorted(found, key=lambda each: each.at)


def _with_subjects(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Repeat a finding of which more is said: "cleared on the right but persists on the left", "the left is"."""
    for pattern in (_PAIR, _INSERTED, _BUT_NOT, _PARTLY, _AGAIN, _NONE, _MORE):
        for gap in reversed([*pattern.finditer(" ".join(token.word for token in tokens))]):
            words, found, group = [token.word for token in tokens], terms().find(tokens), gap.lastindex or 0
            joint, at, end = (gap.string.count(" ", 0, place) for place in (gap.start(), gap.start(group), gap.end()))
            if pattern is _INSERTED:
                tokens = (*tokens[:joint], *tokens[at + (words[at] == ",") : end], *tokens[joint:at], *tokens[end:])
                continue
            if pattern is _PAIR:  # named behind them, where no other place takes the side
                own = group == 1 or words[joint - 1 - (words[joint - 1] == "the")] not in word_class("prepositions")
                own &= words[end - 1] != "," or words[end] not in word_class("verbs")
                subject = next((term for term in found if own and term.last >= end and term.first <= end + 1), None)
            else:
                subject = next((term for term in reversed(found) if term.last < joint), None)
            if subject is None or (pattern is _MORE and not _is_left_out(words, found, subject, joint, at)):
                continue
            if pattern is _PARTLY and not _are_both(words, subject, joint):
                continue
            gone, mark = tokens[at : at + len(gap[group].split())], {_NONE: "no", _PARTLY: ";"}.get(pattern)
            lead = [replace(tokens[at], word=mark)] if mark else [each for each in gone if each.word in SIDES]
            within = [each for each in tokens[at:end] if pattern is not _PAIR or each.word != ","]
            again = pattern is _BUT_NOT and ("one" in words[at : at + 4] or any(at < t.first <= at + 4 for t in found))
            named = () if again else tokens[subject.first : subject.last + 1]
            tokens = (*tokens[:at], *lead, *named, *within[len(gone) :], *tokens[end:])
    return tokens


def _is_left_out(words: list[str], found: list[Found[Term]], subject: Found[Term], joint: int, at: int) -> bool:
    """Return whether the clause behind a joint is one of the other side, without a finding of its own."""
    clause = re.split(r"[,;.(]|\b(?:and|but)\b", " ".join(words[joint + 1 :]))[0].split()
    if any(joint < term.first <= joint + len(clause) for term in found) or not _OF_ANOTHER.isdisjoint(clause):
        return False
    if is_device(subject) and words[at - 1] not in SIDES:
        return False
    said, other = SIDES.keys() & words[max(subject.first - 4, 0) : joint], SIDES.keys() & clause
    one = len(other) == 1 and (len(said) == 1 or _are_both(words, subject, joint))
    return (one and said != other) or words[at] == "cannot"


def _are_both(words: list[str], subject: Found[Term], joint: int) -> bool:
    """Return whether a finding in front of a joint is one of both sides, of which no more is said."""
    both = {"bilateral", "both", "bibasilar", "biapical"} & {*words[max(subject.first - 4, 0) : subject.first]}
    return bool(both) and (word_class("verbs") | SIDES.keys()).isdisjoint(words[subject.first : joint])


def _completed(mention: Mention, earlier: list[Mention], later: list[Mention]) -> Mention:
    """Give a finding that a sentence names twice the place that was said the first time, or the side that is left."""
    gone = {o.side for o in later if (o.start, o.finding, o.presence) == (mention.start, mention.finding, "absent")}
    if mention.side == "bilateral" and mention.presence == "present" and len(side := gone & SIDES.keys()) == 1:
        return replace(mention, side=SIDES[side.pop()])
    same = [other for other in earlier if other.finding == mention.finding and other.side]
    if not same or mention.side or mention.presence == "absent":
        return mention
    return replace(mention, side=same[-1].side, anatomy=mention.anatomy or same[-1].anatomy)


def _presence(term: Term, said: Presence) -> Presence | None:
    """Return what is said of the finding itself; None where it is nothing."""
    if term.kind == "term":
        return said
    if term.kind == "ignored":
        return None
    if term.kind == "doubtful":
        return "uncertain" if said == "present" else said
    if term.kind == "normal":
        return "absent" if said in ("present", "uncertain") else None
    if said != "absent":
        return None
    return "present" if term.finding == "no_finding" else "absent"

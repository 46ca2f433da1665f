"""A report -> what it says of each finding: whether it is there, where, how much, and how it has changed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from medvlp.core.triplet import Side
from medvlp.text.assertion import Presence, assertions
from medvlp.text.blanks import plain_lines
from medvlp.text.ellipsis import with_subjects
from medvlp.text.language import is_english
from medvlp.text.location import CLEAR, SIDES, places
from medvlp.text.ontology import Term, ancestors, findings, respelt, terms, word_class
from medvlp.text.phrases import Found, Token, longest, tokens_of
from medvlp.text.sections import report_text, section_spans
from medvlp.text.sentences import sentence_spans

NOT_ENGLISH = "A report is not in English: only English reports can be read, so it gives no labels."
_BEFORE = frozenset(("indication", "comparison", "exam", "technique"))  # written before the picture was looked at
_NORMAL = re.compile(r"\s*:([^.:;\n]*\b(?:is|are)\b[^.:;\n]*)\.")  # behind a title
_FILM = "(?:the |an? )?(?:prior|previous|earlier|last|old|outside)(?: (?:chest|ct|x|ray|radiograph|film|study|scan))+"
_DENIED_EARLIER = re.compile(  # "no nodule on the prior CT", "the prior CT showed no nodule", a finding being "_"
    r"(?:there (?:is|are|was|were) )?no (?:(?!(?:the|to|of|longer|residual) )[^.;: ]+ )*_"
    r"(?: (?:is|are|was|were))?(?: (?:seen|present|identified|visible))?"
    rf" (?:on|in) {_FILM}(?: \.)?"
    rf"|(?:(?:on|in) {_FILM}(?: ,)? there (?:was|were)|{_FILM} (?:showed|demonstrated|revealed)) no [^.,;:]*_(?: \.)?"
)
_LONGEST = 200  # words of a sentence that are read together: the time grows with their square


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
    return tuple(each for each in mentions if not _is_denied_title(each, mentions, text))


def _is_denied_title(title: Mention, mentions: list[Mention], text: str) -> bool:
    """Return whether a line goes on with what is normal, and denies its title: "Edema: Lungs are clear. No edema"."""
    behind = _NORMAL.match(text, title.end)
    bare = not (title.cue or title.side or title.severity or title.size_mm or title.change)
    if behind is None or not bare or not title.sentence.startswith(title.text):
        return False
    words = {token.word for token in tokens_of(behind[1])}
    later = (each for each in mentions if each.start > title.end and "\n" not in text[title.end : each.start])
    denied = any((each.finding, each.presence, each.side) == (title.finding, "absent", "") for each in later)
    return denied and "not" not in words and not CLEAR.isdisjoint(words)


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
    tokens = with_subjects(tuple(replace(token, word=respelt(token.word)) for token in tokens))
    found = _found(tokens)
    mentions: list[Mention] = []
    asserted = assertions(tokens, found)
    named = {place for term in found for place in term.at}
    said = " ".join("_" if place in named else token.word for place, token in enumerate(tokens))
    if all(each.presence == "absent" for each in asserted) and _DENIED_EARLIER.fullmatch(said):
        return []  # of another film
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
    mentions = _stated(mentions, start + _title_end(tokens, found))
    return [_completed(mention, mentions[:place], mentions[place:]) for place, mention in enumerate(mentions)]


def _title_end(tokens: tuple[Token, ...], found: Sequence[Found[Term]]) -> int:
    """Return the place of the colon behind findings that head a line, as in "Effusion/pneumothorax: None"; else 0."""
    colon = next((place for place, token in enumerate(tokens) if token.word == ":"), 0)
    named = {place for term in found for place in term.at}
    whole = all(place in named or tokens[place].word in ("/", ",", "and", "or") for place in range(colon))
    affirmed = ("yes", "present", "positive", "ticked", ",", ";")  # "Pneumothorax: yes; effusion: no" states both
    said = any(each.word in affirmed for each in tokens[colon + 1 : colon + 2])
    return tokens[colon].start if whole and not said else 0


def _stated(mentions: list[Mention], colon: int) -> list[Mention]:
    """Leave titles out that state nothing: "Pneumothorax: No pneumothorax", "Pneumonia: No consolidation"."""
    behind = [each for each in mentions if each.start > colon]
    said, denied = {each.finding for each in behind}, all(each.presence == "absent" for each in behind)

    def is_title(each: Mention) -> bool:
        bare = each.cue in ("", "or") and not any((each.side, each.anatomy, each.severity, each.size_mm, each.change))
        other = denied and "support_devices" not in ancestors(each.finding)  # "Chest tube: no pneumothorax"
        return each.end <= colon and bare and bool(behind) and (other or each.finding in said)

    return [each for each in mentions if not is_title(each)]


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

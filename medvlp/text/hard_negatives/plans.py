"""Which facts of a text may be changed, into what, and by which rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal, get_args

from medvlp.text.hard_negatives.negation import affirm, affirm_one, deny
from medvlp.text.hard_negatives.wording import (
    DEVICES,
    change_anatomy,
    change_count,
    change_device,
    change_severity,
    change_side,
    other_counts,
    other_places,
)
from medvlp.text.mentions import Mention, read_report

Kind = Literal["side", "negation", "severity", "anatomy", "count", "device"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_OTHER = {"left": "right", "right": "left"}
_GRADES = ("mild", "moderate", "severe")
_NO_PLACE = ("edema", "cardiomegaly", "pleural_thickening")  # a lobe in their sentence is not where they are


@dataclass(frozen=True, slots=True)
class Plan:
    """One change.

    Attributes:
        kind: what is changed.
        finding: of which finding.
        before: what the text says.
        after: what it is to say.
        mentions: where the fact stands.
        change: writes the sentence of a mention anew; None where no rule fits it.
    """

    kind: Kind
    finding: str
    before: str
    after: str
    mentions: tuple[Mention, ...]
    change: Callable[[Mention], str | None]


@lru_cache(maxsize=1 << 10)
def read(text: str) -> tuple[Mention, ...]:
    """Read a report; the last ones are remembered, since every copy of a text is compared with it."""
    return read_report(text)


@lru_cache(maxsize=1 << 13)
def plans_of(text: str) -> tuple[Plan, ...]:
    """Return every change that the rules may try in a text, in the order of its findings."""
    by_finding: dict[str, list[Mention]] = {}
    for mention in read(text):
        by_finding.setdefault(mention.finding, []).append(mention)
    is_normal = any(mention.presence == "present" for mention in by_finding.pop("no_finding", ()))
    plans: list[Plan] = []
    for finding, said in by_finding.items():
        stated = [mention for mention in said if mention.presence in ("present", "uncertain")]
        plans += _side(finding, stated, said)
        plans += _negation(finding, said, is_normal=is_normal)
        plans += _severity(finding, stated)
        plans += _anatomy(finding, stated)
        plans += _count(finding, stated)
        plans += _device(finding, said, by_finding)
    return tuple(plans)


def _side(finding: str, stated: Sequence[Mention], said: Sequence[Mention]) -> Iterator[Plan]:
    sided = tuple(mention for mention in stated if mention.side in _OTHER)
    if sided and len({mention.side for mention in said} - {""}) == 1:
        yield Plan("side", finding, sided[0].side, _OTHER[sided[0].side], sided, lambda m: change_side(m.sentence))


def _negation(finding: str, said: Sequence[Mention], *, is_normal: bool) -> Iterator[Plan]:
    presences = {mention.presence for mention in said}
    if presences == {"present"}:
        yield Plan("negation", finding, "present", "absent", tuple(said), lambda m: deny(m.sentence))
    elif presences == {"absent"} and (not is_normal or finding in DEVICES):
        yield Plan("negation", finding, "absent", "present", tuple(said), _affirmed)


def _severity(finding: str, stated: Sequence[Mention]) -> Iterator[Plan]:
    graded = tuple(mention for mention in stated if mention.severity)
    if len({mention.severity for mention in graded}) == 1:
        for grade in _GRADES:
            if grade != graded[0].severity:
                yield Plan("severity", finding, graded[0].severity, grade, graded, partial(_graded, grade))


def _anatomy(finding: str, stated: Sequence[Mention]) -> Iterator[Plan]:
    placed = tuple(mention for mention in stated if mention.anatomy and other_places(mention.sentence))
    if placed and finding not in _NO_PLACE and len({mention.anatomy for mention in placed}) == 1:
        for place in other_places(placed[0].sentence):
            yield Plan("anatomy", finding, placed[0].anatomy, place, placed, partial(_placed, place))


def _count(finding: str, stated: Sequence[Mention]) -> Iterator[Plan]:
    counted = tuple(mention for mention in stated if mention.count is not None)
    if counted and len({mention.count for mention in counted}) == 1:
        for number in other_counts(counted[0].sentence):
            change = partial(_counted, number)
            yield Plan("count", finding, str(counted[0].count), number, counted, change)


def _device(finding: str, said: Sequence[Mention], all_said: dict[str, list[Mention]]) -> Iterator[Plan]:
    if finding in DEVICES and {mention.presence for mention in said} == {"present"}:
        for other in DEVICES[finding][1]:
            if other not in all_said:
                yield Plan("device", finding, finding, other, tuple(said), partial(_replaced, other))


def _affirmed(mention: Mention) -> str | None:
    return affirm(mention.sentence) or affirm_one(mention.sentence, mention.text)


def _graded(grade: str, mention: Mention) -> str | None:
    return change_severity(mention.sentence, mention.finding, grade)


def _placed(place: str, mention: Mention) -> str | None:
    return change_anatomy(mention.sentence, place)


def _counted(number: str, mention: Mention) -> str | None:
    return change_count(mention.sentence, number)


def _replaced(other: str, mention: Mention) -> str | None:
    return change_device(mention.sentence, mention.finding, other)

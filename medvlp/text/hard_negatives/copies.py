"""From a text to false copies of it: which facts can be changed, changing them everywhere, reading the result back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal, get_args

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
from medvlp.text.sections import section_spans
from medvlp.text.sentences import sentence_spans

if TYPE_CHECKING:
    import torch

__all__ = ["KINDS", "FalseCopy", "Kind", "false_copies", "hard_negatives"]

Kind = Literal["side", "negation", "severity", "anatomy", "count", "device"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_OTHER = {"left": "right", "right": "left"}
_GRADES = ("mild", "moderate", "severe")
_NO_PLACE = ("edema", "cardiomegaly", "pleural_thickening")  # a lobe in their sentence is not where they are
_FREE: dict[Kind, tuple[str, ...]] = {  # what may differ in the facts of the finding that is changed
    "side": ("side",),
    "negation": ("presence", "severity", "anatomy"),
    "severity": ("severity",),
    "anatomy": ("anatomy",),
    "count": ("count",),
    "device": ("finding", "anatomy"),
}
_PARTS = ("finding", "presence", "side", "anatomy", "severity", "size_mm", "count", "change")
_Fact = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class FalseCopy:
    """A text that is false in one fact.

    Attributes:
        text: the false text.
        kind: what was changed.
        finding: of which finding, as in the label columns.
        before: what the text said: a side, ``present`` or ``absent``, a grade, a place, a number, a device.
        after: what the copy says.
        statement: the first sentence that was changed, as it was.
        false_statement: what it became.
    """

    text: str
    kind: Kind
    finding: str
    before: str
    after: str
    statement: str
    false_statement: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """One change: the mentions of the fact, and how the sentence of each is written anew."""

    kind: Kind
    finding: str
    before: str
    after: str
    mentions: tuple[Mention, ...]
    change: Callable[[Mention], str | None]


def false_copies(text: str, kinds: Sequence[Kind] = KINDS) -> tuple[FalseCopy, ...]:
    """Return every copy of a text that the rules can make false in exactly one fact.

    A fact that the text states in several sentences is changed in all of them; where one of these fits no rule, where
    the text says something else that the copy would contradict, or where reading the copy back
    (`medvlp.text.mentions.read_report`) shows another difference, there is no such copy.

    Args:
        text: a report, a section or a sentence.
        kinds: ``side`` (left for right), ``negation`` (present for absent and back; the degree goes with it),
            ``severity``, ``anatomy`` (lobe or zone), ``count``, ``device`` (another device in its place).

    Example:
        >>> for copy in false_copies("Small left effusion.", ("side", "severity")):
        ...     print(copy.text, copy.before, copy.after)
        Small right effusion. left right
        Moderate left effusion. mild moderate
        Large left effusion. mild severe
    """
    made = (_copy(text, place) for place, plan in enumerate(_plans(text)) if plan.kind in kinds)
    return tuple(copy for copy in made if copy is not None)


def hard_negatives(
    text: str, generator: torch.Generator, *, kinds: Sequence[Kind] = KINDS, most: int = 1
) -> tuple[FalseCopy, ...]:
    """Draw false copies: first a kind, each as likely as another where it has a copy, then one of its copies.

    Args:
        text: a report, a section or a sentence.
        generator: what is drawn is a function of its state alone.
        kinds: as for `false_copies`.
        most: most copies; fewer where there are not so many, none where there is none.

    Example:
        >>> import torch
        >>> [copy.text for copy in hard_negatives("No pneumothorax.", torch.Generator().manual_seed(0))]
        ['Pneumothorax.']
    """
    import torch

    plans = _plans(text)
    left = {kind: [place for place, plan in enumerate(plans) if plan.kind == kind] for kind in KINDS if kind in kinds}
    copies: list[FalseCopy] = []
    while len(copies) < most and (open_kinds := [kind for kind, places in left.items() if places]):
        which, where = torch.rand(2, generator=generator).tolist()
        places = left[open_kinds[int(which * len(open_kinds))]]
        copy = _copy(text, places.pop(int(where * len(places))))
        copies += [copy] if copy is not None else []
    return tuple(copies)


@lru_cache(maxsize=1 << 13)
def _plans(text: str) -> tuple[_Plan, ...]:
    by_finding: dict[str, list[Mention]] = {}
    for mention in _read(text):
        by_finding.setdefault(mention.finding, []).append(mention)
    is_normal = any(mention.presence == "present" for mention in by_finding.pop("no_finding", ()))
    plans: list[_Plan] = []
    for finding, said in by_finding.items():
        stated = [mention for mention in said if mention.presence in ("present", "uncertain")]
        plans += _side(finding, stated, said)
        plans += _negation(finding, said, is_normal=is_normal)
        plans += _severity(finding, stated)
        plans += _anatomy(finding, stated)
        plans += _count(finding, stated)
        plans += _device(finding, said, by_finding)
    return tuple(plans)


def _side(finding: str, stated: Sequence[Mention], said: Sequence[Mention]) -> Iterator[_Plan]:
    sided = tuple(mention for mention in stated if mention.side in _OTHER)
    if sided and len({mention.side for mention in said} - {""}) == 1:
        yield _Plan("side", finding, sided[0].side, _OTHER[sided[0].side], sided, lambda m: change_side(m.sentence))


def _negation(finding: str, said: Sequence[Mention], *, is_normal: bool) -> Iterator[_Plan]:
    presences = {mention.presence for mention in said}
    if presences == {"present"}:
        yield _Plan("negation", finding, "present", "absent", tuple(said), lambda m: deny(m.sentence))
    elif presences == {"absent"} and (not is_normal or finding in DEVICES):
        yield _Plan(
            "negation",
            finding,
            "absent",
            "present",
            tuple(said),
            lambda m: affirm(m.sentence) or affirm_one(m.sentence, m.text),
        )


def _severity(finding: str, stated: Sequence[Mention]) -> Iterator[_Plan]:
    graded = tuple(mention for mention in stated if mention.severity)
    if len({mention.severity for mention in graded}) == 1:
        for grade in _GRADES:
            if grade != graded[0].severity:
                change = partial(_graded, grade)
                yield _Plan("severity", finding, graded[0].severity, grade, graded, change)


def _graded(grade: str, mention: Mention) -> str | None:
    return change_severity(mention.sentence, mention.finding, grade)


def _anatomy(finding: str, stated: Sequence[Mention]) -> Iterator[_Plan]:
    placed = tuple(mention for mention in stated if mention.anatomy and other_places(mention.sentence))
    if placed and finding not in _NO_PLACE and len({mention.anatomy for mention in placed}) == 1:
        for place in other_places(placed[0].sentence):
            yield _Plan(
                "anatomy",
                finding,
                placed[0].anatomy,
                place,
                placed,
                lambda m, place=place: change_anatomy(m.sentence, place),
            )


def _count(finding: str, stated: Sequence[Mention]) -> Iterator[_Plan]:
    counted = tuple(mention for mention in stated if mention.count is not None)
    if counted and len({mention.count for mention in counted}) == 1:
        for number in other_counts(counted[0].sentence):
            yield _Plan(
                "count",
                finding,
                str(counted[0].count),
                number,
                counted,
                lambda m, number=number: change_count(m.sentence, number),
            )


def _device(finding: str, said: Sequence[Mention], all_said: dict[str, list[Mention]]) -> Iterator[_Plan]:
    if finding in DEVICES and {mention.presence for mention in said} == {"present"}:
        for other in DEVICES[finding][1]:
            if other not in all_said:
                yield _Plan(
                    "device",
                    finding,
                    finding,
                    other,
                    tuple(said),
                    lambda m, other=other: change_device(m.sentence, m.finding, other),
                )


@lru_cache(maxsize=1 << 14)
def _copy(text: str, place: int) -> FalseCopy | None:
    """Return the copy of one plan, None where a sentence fits no rule or more is changed than the one fact."""
    plan = _plans(text)[place]
    spans = _sentences(text)
    changed, statement, false_statement = text, "", ""
    done: set[tuple[int, int]] = set()
    for mention in sorted(plan.mentions, key=lambda each: each.start, reverse=True):
        span = next((span for span in spans if span[0] <= mention.start < span[1]), None)
        if span is None:
            return None
        if span not in done:
            new = plan.change(mention)
            if new is None or new == mention.sentence:
                return None
            changed = changed[: span[0]] + new + changed[span[1] :]
            statement, false_statement = mention.sentence, new
            done.add(span)
    made = FalseCopy(changed, plan.kind, plan.finding, plan.before, plan.after, statement, false_statement)
    return made if _is_clean(_facts(text), _facts(changed), made) else None


def _sentences(text: str) -> list[tuple[int, int]]:
    return [
        (start + first, start + last)
        for _, start, end in section_spans(text)
        for first, last in sentence_spans(text[start:end])
    ]


def _facts(text: str) -> list[_Fact]:
    return [(m.finding, m.presence, m.side, m.anatomy, m.severity, m.size_mm, m.count, m.change) for m in _read(text)]


@lru_cache(maxsize=1 << 10)
def _read(text: str) -> tuple[Mention, ...]:
    return read_report(text)


def _is_clean(before: Sequence[_Fact], after: Sequence[_Fact], copy: FalseCopy) -> bool:
    """Whether all facts of the finding differ in nothing but what was to be changed, and no other fact does."""
    changed = {copy.finding, copy.after} if copy.kind == "device" else {copy.finding}
    if Counter(f for f in before if f[0] not in changed) != Counter(f for f in after if f[0] not in changed):
        return False
    mine, now = ([fact for fact in facts if fact[0] in changed] for facts in (before, after))
    bound = [place for place, part in enumerate(_PARTS) if part not in _FREE[copy.kind]]
    if Counter(tuple(f[p] for p in bound) for f in mine) != Counter(tuple(f[p] for p in bound) for f in now):
        return False
    asserted = [fact for fact in now if fact[1] in ("present", "uncertain")]
    if copy.kind == "side":
        return all(fact[2] in (copy.after, "") for fact in now)
    if copy.kind == "negation":
        return all(fact[1] == copy.after for fact in now)
    if copy.kind == "severity":
        return all(fact[4] in (copy.after, "") for fact in asserted)
    if copy.kind == "device":
        return all(fact[0] == copy.after for fact in now)
    return mine != now

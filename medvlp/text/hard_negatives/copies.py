"""From a text to false copies of it: a fact is changed wherever it stands, and the result is read back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, get_args

from medvlp.text.hard_negatives import wording
from medvlp.text.location import SIDES
from medvlp.text.mentions import Mention, read_report
from medvlp.text.sections import report_sentences

if TYPE_CHECKING:
    import torch

Kind = Literal["side", "negation", "severity", "anatomy", "count", "device"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_GRADES = ("mild", "moderate", "severe")
_NO_PLACE = ("edema", "cardiomegaly", "pleural_thickening")  # a lobe in their sentence is not where they are


@dataclass(frozen=True, slots=True)
class Plan:
    """One change of a finding, from `before` to `after`, at all mentions of the fact.

    `change` writes the sentence of a mention anew; None where no rule fits it.
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
    return tuple(
        plan for finding, said in by_finding.items() for plan in _plans(finding, said, by_finding, is_normal=is_normal)
    )


_CHANGES: dict[Kind, Callable[[Mention, str], str | None]] = {
    "side": lambda m, to: wording.change_side(m.sentence),
    "negation": lambda m, to: (
        wording.deny(m.sentence)
        if to == "absent"
        else wording.affirm(m.sentence) or wording.affirm_one(m.sentence, m.text)
    ),
    "severity": lambda m, to: wording.change_severity(m.sentence, m.finding, to),
    "anatomy": lambda m, to: wording.change_anatomy(m.sentence, to),
    "count": lambda m, to: wording.change_count(m.sentence, to),
    "device": lambda m, to: wording.change_device(m.sentence, m.finding, to),
}


def _plans(finding: str, said: Sequence[Mention], all_said: Mapping[str, object], *, is_normal: bool) -> Iterator[Plan]:
    stated = [mention for mention in said if mention.presence in ("present", "uncertain")]
    presences = {mention.presence for mention in said}

    def plans(kind: Kind, before: object, others: Iterable[str], mentions: Sequence[Mention]) -> Iterator[Plan]:
        for after in others:
            yield Plan(kind, finding, str(before), after, tuple(mentions), lambda m, to=after: _CHANGES[kind](m, to))

    if (sided := [m for m in stated if m.side in SIDES]) and len({m.side for m in said} - {""}) == 1:
        yield from plans("side", sided[0].side, [SIDES[sided[0].side]], sided)
    if presences == {"present"}:
        yield from plans("negation", "present", ["absent"], said)
    elif presences == {"absent"} and (not is_normal or finding in wording.DEVICES):
        yield from plans("negation", "absent", ["present"], said)
    graded = [m for m in stated if m.severity]
    if len({m.severity for m in graded}) == 1:
        others = [grade for grade in _GRADES if grade != graded[0].severity]
        yield from plans("severity", graded[0].severity, others, graded)
    placed = [m for m in stated if m.anatomy and wording.other_places(m.sentence)]
    if finding not in _NO_PLACE and len({m.anatomy for m in placed}) == 1:
        yield from plans("anatomy", placed[0].anatomy, wording.other_places(placed[0].sentence), placed)
    counted = [m for m in stated if m.count is not None]
    if len({m.count for m in counted}) == 1:
        yield from plans("count", counted[0].count, wording.other_counts(counted[0].sentence), counted)
    if finding in wording.DEVICES and presences == {"present"}:
        others = [device for device in wording.DEVICES[finding][1] if device not in all_said]
        yield from plans("device", finding, others, said)


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

    `before` is what the text said of the finding (a side, ``present`` or ``absent``, a grade, place, number or device),
    `after` what the copy says; `statement` the first sentence that was changed, and what it became.
    """

    text: str
    kind: Kind
    finding: str
    before: str
    after: str
    statement: str
    false_statement: str


def false_copies(text: str, kinds: Sequence[Kind] = KINDS) -> tuple[FalseCopy, ...]:
    """Return every copy of a text that the rules can make false in exactly one fact.

    A fact that the text states in several sentences is changed in all of them; where one of these fits no rule, where
    the text says something else that the copy would contradict, or where reading the copy back
    (`medvlp.text.mentions.read_report`) shows another difference, there is no such copy.

    Args:
        text: a report, a section or a sentence.
        kinds: ``side`` (left for right), ``negation`` (present for absent and back; the degree goes with it),
            ``severity``, ``anatomy`` (lobe or zone), ``count``, ``device`` (another device in its place). A sentence
            with a bound ("at least four nodules") has no copy of severity or count: it may be as true.

    Example:
        >>> for copy in false_copies("Small left effusion.", ("side", "severity")):
        ...     print(copy.text, copy.before, copy.after)
        Small right effusion. left right
        Moderate left effusion. mild moderate
        Large left effusion. mild severe
    """
    made = (_copy(text, place) for place, plan in enumerate(plans_of(text)) if plan.kind in kinds)
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

    plans = plans_of(text)
    left = {kind: [place for place, plan in enumerate(plans) if plan.kind == kind] for kind in KINDS if kind in kinds}
    copies: list[FalseCopy] = []
    while len(copies) < most and (open_kinds := [kind for kind, places in left.items() if places]):
        which, where = torch.rand(2, generator=generator).tolist()
        places = left[open_kinds[int(which * len(open_kinds))]]
        copy = _copy(text, places.pop(int(where * len(places))))
        copies += [copy] if copy is not None else []
    return tuple(copies)


@lru_cache(maxsize=1 << 14)
def _copy(text: str, place: int) -> FalseCopy | None:
    """Return the copy of one plan, None where a sentence fits no rule or more is changed than the one fact."""
    return copy_by(text, plans_of(text)[place])


def copy_by(text: str, plan: Plan) -> FalseCopy | None:
    """Return the copy that a plan makes of a text, None where it is not clean."""
    spans = report_sentences(text)
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
            new = new.upper() if mention.sentence.isupper() else new
            changed = changed[: span[0]] + new + changed[span[1] :]
            statement, false_statement = mention.sentence, new
            done.add(span)
    made = FalseCopy(changed, plan.kind, plan.finding, plan.before, plan.after, statement, false_statement)
    return made if _is_clean(_facts(text), _facts(changed), made) else None


def _facts(text: str) -> list[_Fact]:
    return list(map(attrgetter(*_PARTS), read(text)))


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

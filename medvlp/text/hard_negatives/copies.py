"""From a text to false copies of it: a fact is changed wherever it stands, and the result is read back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from medvlp.text.hard_negatives.plans import KINDS, Kind, plans_of, read
from medvlp.text.sections import section_spans
from medvlp.text.sentences import sentence_spans

if TYPE_CHECKING:
    import torch

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
    plan = plans_of(text)[place]
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
    return [(m.finding, m.presence, m.side, m.anatomy, m.severity, m.size_mm, m.count, m.change) for m in read(text)]


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

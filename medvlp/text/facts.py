"""What a text states as whole numbers, one a fact, that can be compared without words: which facts confirm which.

A fact is what `medvlp.text.mentions.read_report` finds: a finding, how it is asserted, and whatever is said of its
side, place, severity, size, number and course. It is packed into the bits of one int64, so that facts travel with a
batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache

import numpy as np

from medvlp.text.blanks import plain_lines
from medvlp.text.mentions import Mention, mentions_of_sentence, read_sentences
from medvlp.text.ontology import ancestors, findings, load

KNOWN = "graph.facts"
"""Batch field of what is known of a sample: rows (0, fact)."""
_PRESENCE = ("present", "absent", "uncertain", "historical", "conditional")
_SIDES = ("", "left", "right", "bilateral", "midline")
_SEVERITIES = ("", "mild", "moderate", "severe")
_CHANGES = ("", "new", "stable", "improved", "worse")
_BITS = {"finding": 10, "presence": 3, "side": 3, "anatomy": 8, "severity": 3, "change": 3, "count": 4, "size": 20}
_DETAILS = ("anatomy", "severity", "change", "count", "size")
_LABELS = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}


def stated_field(field: str) -> str:
    """Return the batch field of the facts that the rows of a text field state: rows (place of the text, fact)."""
    return f"{KNOWN}.{field}"


@lru_cache(maxsize=1 << 14)
def facts_of(text: str) -> tuple[int, ...]:
    """Return the facts that a text states, each once, in their order; sentences are read once and remembered."""
    found, text = dict[int, None](), plain_lines(text)
    for start, end, _, before in read_sentences(text):
        found |= dict.fromkeys(_of_sentence(text[start:end], before))
    return tuple(found)


@lru_cache(maxsize=1 << 15)
def _of_sentence(words: str, before: bool) -> tuple[int, ...]:
    return tuple(_packed(mention) for mention in mentions_of_sentence(words, 0, len(words), "", before=before))


def facts_of_labels(labels: Mapping[str, float]) -> tuple[int, ...]:
    """Return the facts that labels state, by finding: 1 present, 0 absent, -1 uncertain; others state nothing."""
    known = _places("finding")
    return tuple(_of_label(name, value) for name, value in labels.items() if name in known and value in _LABELS)


@cache
def _of_label(name: str, value: float) -> int:
    return _pack(finding=_places("finding")[name], presence=_PRESENCE.index(_LABELS[value]))


def confirmed(known: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Return which known facts ``(G,)`` confirm which facts ``(F,)`` that are said, bool ``(G, F)``.

    Both assert a finding in the same way, and what is said is not more than what is known. Where something is there
    (uncertain, in the past), the known finding is the said one or a kind of it, and each detail that is said is known
    alike; what is on both sides is on either. Where it is denied, the said finding is the known one or a kind of it,
    and the known denial is as wide: each detail that limits it limits the other too.
    """
    first, second = _unpacked(known[:, None]), _unpacked(said[None, :])
    kind = _kinds()
    more = kind[first["finding"], second["finding"]] & _within(first["side"], second["side"], both=True)
    wide = kind[second["finding"], first["finding"]] & _within(second["side"], first["side"], both=False)
    for name in _DETAILS:
        more &= _within(first[name], second[name], both=False)
        wide &= _within(second[name], first[name], both=False)
    denied = second["presence"] == _PRESENCE.index("absent")
    return (first["presence"] == second["presence"]) & np.where(denied, wide, more)


def _within(more: np.ndarray, less: np.ndarray, *, both: bool) -> np.ndarray:
    """Whether a detail says nothing, or the same as the other."""
    same = (less == 0) | (less == more)
    if not both:
        return same
    either = (less == _SIDES.index("left")) | (less == _SIDES.index("right"))
    return same | (either & (more == _SIDES.index("bilateral")))


@cache
def _places(what: str) -> dict[str, int]:
    """Number findings and places from 1; 0 is none."""
    names = sorted(findings()) if what == "finding" else sorted(map(str, load("places")["anatomy"]))
    return {name: place for place, name in enumerate(names, start=1)}


@cache
def _kinds() -> np.ndarray:
    """Return whether a finding is another or a kind of it, bool (N + 1, N + 1)."""
    known = _places("finding")
    kinds = np.zeros((len(known) + 1, len(known) + 1), dtype=bool)
    for name, place in known.items():
        for above in ancestors(name):
            kinds[place, known[above]] = True
    return kinds


def _packed(mention: Mention) -> int:
    return _pack(
        finding=_places("finding")[mention.finding], presence=_PRESENCE.index(mention.presence),
        side=_SIDES.index(mention.side), anatomy=_places("anatomy").get(mention.anatomy, 0),
        severity=_SEVERITIES.index(mention.severity), change=_CHANGES.index(mention.change),
        count=mention.count or 0, size=round((mention.size_mm or 0) * 100),
    )  # fmt: skip


def _pack(**parts: int) -> int:
    """Put numbers side by side; one that is too large for its bits becomes the largest that fits."""
    packed, shift = 0, 0
    for name, bits in _BITS.items():
        packed |= min(parts.get(name, 0), (1 << bits) - 1) << shift
        shift += bits
    return packed


def _unpacked(facts: np.ndarray) -> dict[str, np.ndarray]:
    parts, shift = {}, 0
    for name, bits in _BITS.items():
        parts[name] = (facts >> shift) & ((1 << bits) - 1)
        shift += bits
    return parts

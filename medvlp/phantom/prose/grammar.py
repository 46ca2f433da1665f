"""From facts to words: the slots that a finding fills, and the realisation of a form as a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medvlp.phantom._files import read_facts
from medvlp.phantom.facts import Finding, Study
from medvlp.phantom.prose.form import SLOT, Noun, SentenceForm, Wording
from medvlp.phantom.rules import fractured_ribs, heart_ratio

Pick = Callable[[Sequence[Any]], Any]
"""Draws one of several options."""

_WORDS = read_facts("prose/slots")
_VOWEL = re.compile(r"\b([Aa]) (?=(?:[aeiou]|8|11\b|18\b|ET\b|AP\b)(?!ni))")
_CHOICE = re.compile(r"<([^<>]+)>")
_NUMBER = re.compile(r"\[([^\[\]|]*)\|([^\[\]|]*)\]")


def millimetres(size: float, pick: Pick) -> str:
    """Return a length as reports write it: below a centimetre in mm, above in either unit."""
    whole = f"{size:.0f} mm"
    return whole if size < 9.5 else pick((whole, f"{size / 10:.1f} cm"))


def conditions_of(study: Study) -> frozenset[str]:
    """Return what is true of the whole study, in the words that forms put before ``?``."""
    names = {finding.name for finding in study.findings}
    lung = {"consolidation", "nodule", "edema", "atelectasis", "emphysema"}
    shifting = {"effusion", "pneumothorax", "atelectasis"}
    shifted = any(finding.name in shifting and finding.severity == "severe" for finding in study.findings)
    facts = {
        "erect": "PA" in study.views,
        "supine": "AP" in study.views and "PA" not in study.views,
        "clear": not names & lung,
        "bones": "rib_fracture" not in names,
        "midline": not shifted,
        "mediastinum": not names & {"cardiomegaly", "edema"} and not shifted,
        "volumes": not names & {"emphysema", "atelectasis", "effusion", "pneumothorax"},
        "diaphragm": not names & {"emphysema", "atelectasis", "effusion", "consolidation"},
        "bare": not names,
        "film": bool(study.views),
        "old": study.patient.age >= 60,
    }
    return frozenset(name for name, holds in facts.items() if holds)


def side_slots(side: str, pick: Pick) -> dict[str, str]:
    """Return the slots that speak of a side; none where side has no meaning.

    Example:
        >>> side_slots("left", lambda words: words[0])["the_apex"]
        'the left lung apex'
    """
    if side not in ("left", "right", "bilateral"):
        return {}
    both = side == "bilateral"
    slots = {
        "side": side,
        "sided": side if both else f"{side}-sided",
        "on_side": pick(("bilaterally", "on both sides")) if both else f"on the {side}",
    }
    for slot, (one, several) in _WORDS["paired"].items():
        slots[slot] = f"bilateral {several}" if both else f"{side} {one}"
        slots[f"the_{slot}"] = f"both {several}" if both else f"the {side} {one}"
    return slots


def _lobe_slots(finding: Finding, pick: Pick) -> dict[str, str]:
    """Return place and zone; the whole lung where no lobe is named.

    A lobe is no zone: only what lies on the diaphragm (plates of a lower lobe) is said to be at the base.
    """
    if finding.side not in ("left", "right", "bilateral"):
        return {}
    both, lobe = finding.side == "bilateral", finding.lobe
    owner = "both" if both else f"the {finding.side}"
    ending = "s" if both else ""
    if not lobe or (lobe == "middle" and finding.side != "right"):
        where = f"{owner} lung{ending}"
        return {"place": finding.side, "the_place": where, "the_zone": where}
    where = f"{owner} {lobe} lobe{ending}"
    basal = finding.name == "atelectasis" and lobe == "lower"
    zone = pick(("lung base", "lower zone")) if basal else f"{lobe} lobe"
    return {"place": f"{finding.side} {lobe} lobe", "the_place": where, "the_zone": f"{owner} {zone}{ending}"}


def _displacement(size: float, pick: Pick) -> str:
    if size <= 0:
        return "nondisplaced"
    if size < 6:
        return pick(("mildly displaced", "minimally displaced"))
    return "displaced" if size < 11 else "widely displaced"


def is_plural(finding: Finding) -> bool:
    """Return whether a finding is spoken of as several: on both sides, or more than one rib."""
    return finding.side == "bilateral" or (finding.name == "rib_fracture" and len(fractured_ribs(finding)) > 1)


def slots_for(finding: Finding, wording: Wording, pick: Pick, *, graded: bool = True) -> dict[str, str]:
    """Return every slot that the facts of a finding fill.

    Args:
        finding: the facts.
        wording: the finding's words.
        pick: draws one of several words.
        graded: False leaves the severity out (what is gone has none).
    """
    severity = finding.severity if graded and wording.grades else ""
    plural = is_plural(finding)
    slots = {"a": "" if plural else "a ", "severity": "", "severely": ""}
    slots |= side_slots(finding.side, pick) | _lobe_slots(finding, pick)
    if severity:
        slots["severity"] = pick(wording.grades[severity])
        slots["severely"] = pick(_WORDS["adverbs"][severity])
        slots["quantity"] = pick(_WORDS["quantities"][severity])
    if finding.size > 0 and graded:
        slots["size"] = millimetres(finding.size, pick)
    if finding.name == "rib_fracture":
        first, *others = fractured_ribs(finding)
        link = " and " if len(others) == 1 else " to "
        slots["rib"] = pick(
            (
                link.join((_WORDS["ordinals"][first], *(_WORDS["ordinals"][rib] for rib in others[-1:]))),
                link.join((f"{first}th", *(f"{rib}th" for rib in others[-1:]))),
            )
        )
        slots["the_ribs"] = f"the {finding.side} {slots['rib']} rib{'s' if plural else ''}"
        slots["displaced"] = _displacement(finding.size, pick)
    if finding.name == "cardiomegaly":
        slots["ratio"] = f"{heart_ratio(finding.amount):.2f}"
    return slots


def finding_conditions(finding: Finding) -> frozenset[str]:
    """Return what is true of one finding, in the words that forms put before ``?``."""
    names: set[str] = set()
    if finding.severity:
        names |= {finding.severity} | ({"graded"} if finding.severity != "mild" else set())
        names.add("collapse" if finding.severity == "severe" else "plate")
    if finding.name == "endotracheal_tube":
        names.add("low" if 0 < finding.size < 30 else "high" if finding.size > 60 else "good")
    return frozenset(names)


def eligible(form: SentenceForm | Noun, slots: Mapping[str, str], conditions: frozenset[str]) -> bool:
    """Return whether the facts fill all slots of a form and fulfil its conditions."""
    return conditions.issuperset(form.when) and slots.keys() >= set(SLOT.findall(form.template))


def realise(template: str, slots: Mapping[str, str], pick: Pick, *, plural: bool = False, capital: bool = True) -> str:
    """Return the words of a template: choices drawn, number agreed, slots filled, articles and spaces mended.

    Args:
        template: a form or noun phrase in the notation of `prose.form`.
        slots: what fills the slots.
        pick: draws one of several words.
        plural: takes the second of ``[one|several]``.
        capital: starts with a capital letter, as a sentence does.

    Example:
        >>> slots = {"a": "a ", "severity": "", "side": "left"}
        >>> realise("There [is|are] {a}{severity} {side} effusion[|s].", slots, lambda words: words[0])
        'There is a left effusion.'
    """
    text = _CHOICE.sub(lambda found: pick(found[1].split("|")), template)
    text = _NUMBER.sub(lambda found: found[2 if plural else 1], text)
    text = SLOT.sub(lambda found: slots[found[1]], text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([.,])", r"\1", text)
    text = _VOWEL.sub(r"\1n ", text)
    return text[:1].upper() + text[1:] if capital else text


def as_ct(text: str) -> str:
    """Return the text with the words for radiographs changed into those for CT."""
    return re.sub(r"\b[Rr]adiograph(ic)?\b", "CT", text)


def british(text: str) -> str:
    """Return the text in British spelling."""
    for american, local in _WORDS["british"].items():
        text = text.replace(american, local)
    return text

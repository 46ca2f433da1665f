"""Says one thing at a time: draws a form that the facts can fill, words it, and notes what it asserts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from medvlp.core.errors import DataError
from medvlp.core.triplet import Presence, Triplet
from medvlp.phantom.facts import Finding, Study
from medvlp.phantom.prose.change import DEVICES
from medvlp.phantom.prose.form import Noun, SentenceForm
from medvlp.phantom.prose.grammar import as_ct, british, eligible, finding_conditions, is_plural, realise, slots_for
from medvlp.phantom.prose.words import FORMS, WORDINGS

T = TypeVar("T")

_SYSTEM = {
    "cardiomegaly": "heart",
    "rib_fracture": "bones",
    "effusion": "pleura",
    "pneumothorax": "pleura",
    **dict.fromkeys(DEVICES, "devices"),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence with what it asserts.

    Attributes:
        sentence: the words.
        triplets: the facts they carry; none for normal anatomy.
        system: part of the chest, by which the findings section is ordered.
    """

    sentence: str
    triplets: tuple[Triplet, ...]
    system: str


@dataclass(slots=True)
class Writer:
    """Draws words for one report and remembers which forms it used.

    Attributes:
        study: the facts.
        held_out: which half of the forms is used.
        generator: of this report alone.
        spelling: ``"american" | "british"``.
        conditions: what is true of the whole study (`grammar.conditions_of`).
        used: the forms used so far.
    """

    study: Study
    held_out: bool
    generator: np.random.Generator
    spelling: str
    conditions: frozenset[str]
    used: list[SentenceForm] = field(default_factory=list)

    def chance(self, rate: float) -> bool:
        """Return True at the given rate."""
        return bool(self.generator.random() < rate)

    def pick(self, options: Sequence[T], /) -> T:
        """Return one of the options."""
        return options[int(self.generator.integers(len(options)))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in drawn order."""
        return [items[int(place)] for place in self.generator.permutation(len(items))]

    def allowed(self, topic: str, slots: Mapping[str, str], conditions: frozenset[str]) -> list[SentenceForm]:
        """Return the forms of the topic that the facts can fill, only those not yet used where there are any."""
        forms = [form for form in FORMS[topic, self.held_out] if eligible(form, slots, conditions)]
        return [form for form in forms if form not in self.used] or forms

    def word(self, form: SentenceForm, slots: Mapping[str, str], *, plural: bool = False) -> str:
        """Return the form as a sentence in the report's spelling."""
        self.used.append(form)
        text = realise(form.template, slots, self.pick, plural=plural)
        text = text if self.study.views else as_ct(text)
        return british(text) if self.spelling == "british" else text


def system_of(name: str) -> str:
    """Return the part of the chest to which a finding belongs."""
    return _SYSTEM.get(name, "lungs")


def anatomy_of(finding: Finding) -> str:
    """Return the anatomy of a finding's triplet: the lobe where there is one."""
    return f"{finding.lobe} lobe" if finding.lobe else WORDINGS[finding.name].anatomy


def state(
    writer: Writer, findings: Sequence[Finding], topic: str, presence: Presence = "present", *, graded: bool = True
) -> Statement:
    """Say one thing of a finding (or of two at once) by a form of the topic, direct or around a noun phrase.

    Args:
        writer: of this report.
        findings: what the sentence is about; the first one gives side, size and severity.
        topic: of the form.
        presence: what the sentence asserts of all of them.
        graded: False leaves severity and size out.

    Raises:
        DataError: if the facts fill no form of the topic, as when a finding that needs a side has none.
    """
    finding = findings[0]
    slots = slots_for(finding, WORDINGS[finding.name], writer.pick, graded=graded)
    conditions = writer.conditions | (finding_conditions(finding) if graded else frozenset())
    plural = is_plural(finding)
    noun: Noun | None = None
    names = [noun for noun in WORDINGS[finding.name].named if eligible(noun, slots, conditions)]
    if names:
        noun = writer.pick(names)
        slots["np"] = realise(noun.template, slots, writer.pick, plural=plural, capital=False)
    forms = writer.allowed(topic, slots, conditions)
    if not forms:
        raise DataError(
            f"Study {writer.study.id} has a {finding.name} with side {finding.side!r} and lobe {finding.lobe!r} that "
            f"no sentence on {topic} can say: give it a side and lobe that medvlp.phantom.rules allows."
        )
    form = writer.pick(forms)
    if noun is not None and "{np}" in form.template:
        slots["a"] = "" if noun.mass or plural else "a "
        plural = plural and not noun.mass
    sentence = writer.word(form, slots, plural=plural)
    grade_words = (slots["severity"], slots["severely"], slots.get("quantity", ""))
    graded_in_words = any(word and word in sentence.lower() for word in grade_words)
    triplets = tuple(
        Triplet(
            anatomy_of(each),
            each.side,
            each.name,
            presence,
            finding.severity if graded_in_words and each is finding else "",
            sentence,
        )
        for each in findings
    )
    return Statement(sentence, triplets, system_of(finding.name))


def state_plainly(writer: Writer, topic: str, system: str, triplets: Sequence[tuple[str, str]] = ()) -> list[Statement]:
    """Say what needs no finding, something absent or normal; nothing where no form may be used in this study.

    Args:
        writer: of this report.
        topic: of the form.
        system: part of the chest.
        triplets: (anatomy, observation) of what the sentence denies.
    """
    forms = writer.allowed(topic, {"a": "a "}, writer.conditions)
    if not forms:
        return []
    sentence = writer.word(writer.pick(forms), {"a": "a "})
    denied = tuple(Triplet(anatomy, "", name, "absent", "", sentence) for anatomy, name in triplets)
    return [Statement(sentence, denied, system)]

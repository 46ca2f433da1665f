"""A sentence form and the small notation in which the YAML files beside this one write forms.

One form a line::

    graded? {the_diaphragm} [is|are] <obscured|hidden> by {a}{severity} pleural effusion[|s].

``name?`` in front (several with commas) says when the form may be used; ``{slot}`` is filled from the facts, and a form
whose slot the facts cannot fill is not eligible; ``[one|several]`` follows grammatical number (several = both sides);
``<this|that>`` is drawn. The notation is text, never code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_CONDITION = re.compile(r"([a-z_,]+)\? ")
SLOT = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class SentenceForm:
    """One way to say one thing.

    Attributes:
        topic: what is said, ``"effusion/present"``, ``"change/new"``, ``"normal/trachea"`` ...
        template: the form in the notation of this module.
        held_out: True where the form is reserved for reports of held-out patients.
        when: conditions that must all hold, e.g. ``("erect",)``.
    """

    topic: str
    template: str
    held_out: bool
    when: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun phrase that names a finding in a frame.

    Attributes:
        template: the phrase, without article.
        mass: True where it has neither article nor plural ("pulmonary edema").
        when: conditions that must all hold.
    """

    template: str
    mass: bool
    when: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wording:
    """All words for one finding.

    Attributes:
        anatomy: anatomy of the triplet where no lobe is named.
        grades: adjectives for each severity; empty for what is not graded.
        named: noun phrases for the frames of change, uncertainty and conclusion.
        denied: noun phrases for lists of what is absent.
        forms: present, absent and (where it may be uncertain) uncertain forms.
    """

    anatomy: str
    grades: Mapping[str, tuple[str, ...]]
    named: tuple[Noun, ...]
    denied: tuple[str, ...]
    forms: tuple[SentenceForm, ...]


def _lines(text: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    for line in filter(None, map(str.strip, text.splitlines())):
        found = _CONDITION.match(line)
        yield (line[found.end() :], tuple(found[1].split(","))) if found else (line, ())


def read_forms(topics: Mapping[str, Mapping[str, str]], *, prefix: str = "") -> tuple[SentenceForm, ...]:
    """Return the forms of some topics, each with two blocks of lines: ``usual`` and ``held_out``.

    Example:
        >>> blocks = {"absent": {"usual": "No effusion.", "held_out": "No pleural fluid."}}
        >>> [(form.topic, form.held_out) for form in read_forms(blocks, prefix="effusion/")]
        [('effusion/absent', False), ('effusion/absent', True)]
    """
    return tuple(
        SentenceForm(prefix + topic, template, half == "held_out", when)
        for topic, blocks in topics.items()
        for half in ("usual", "held_out")
        for template, when in _lines(blocks[half])
    )


def nouns(text: str) -> tuple[Noun, ...]:
    """Return the noun phrases of a block of lines; ``~`` in front marks a mass noun.

    Example:
        >>> nouns("~pulmonary edema")[0].mass
        True
    """
    return tuple(Noun(template.removeprefix("~"), template.startswith("~"), when) for template, when in _lines(text))

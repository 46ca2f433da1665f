"""A sentence form and the small notation in which forms are written.

One form a line::

    graded? {the_diaphragm} [is|are] <obscured|hidden> by {a}{severity} pleural effusion[|s].

``name?`` in front (several with commas) says when the form may be used; ``{slot}`` is filled from the facts, and a form
whose slot the facts cannot fill is not eligible; ``[one|several]`` follows grammatical number (several = both sides);
``<this|that>`` is drawn. The notation is text, never code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Noun", "SentenceForm", "nouns", "read_forms", "slots_of"]

_CONDITION = re.compile(r"([a-z_,]+)\? ")
_SLOT = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class SentenceForm:
    """One way to say one thing.

    Attributes:
        topic: what is said, ``"effusion/present"``, ``"change/new"``, ``"normal/trachea"`` ...
        template: the form in the notation of this module.
        held_out: True where the form is kept for reports of held-out patients.
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


def _lines(text: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    for line in filter(None, map(str.strip, text.splitlines())):
        found = _CONDITION.match(line)
        yield (line[found.end() :], tuple(found[1].split(","))) if found else (line, ())


def read_forms(topic: str, usual: str, held_out: str) -> tuple[SentenceForm, ...]:
    """Return the forms of a topic from two blocks of lines: those used everywhere and those held out.

    Example:
        >>> [form.held_out for form in read_forms("effusion/absent", "No effusion.", "No pleural fluid.")]
        [False, True]
    """
    return tuple(
        SentenceForm(topic, template, mark, when)
        for mark, block in ((False, usual), (True, held_out))
        for template, when in _lines(block)
    )


def nouns(text: str) -> tuple[Noun, ...]:
    """Return the noun phrases of a block of lines; ``~`` in front marks a mass noun.

    Example:
        >>> nouns("~pulmonary edema")[0].mass
        True
    """
    return tuple(Noun(template.removeprefix("~"), template.startswith("~"), when) for template, when in _lines(text))


def slots_of(template: str) -> frozenset[str]:
    """Return the names of the slots of a template.

    Example:
        >>> sorted(slots_of("{severity} {side} effusion"))
        ['severity', 'side']
    """
    return frozenset(_SLOT.findall(template))

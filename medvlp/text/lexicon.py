"""Which findings a sentence names, and the classes of words that the rules speak of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from medvlp.text.ontology import findings, ignored, load
from medvlp.text.phrases import Phrases


@dataclass(frozen=True, slots=True)
class Term:
    """What a phrase of the lexicon says of a finding (its key; empty for what is no finding).

    `kind`: ``"term"`` names it, ``"normal"`` says that it is not there, ``"denied"`` says something of it only where it
    is denied, ``"doubtful"`` names a sign that leaves it uncertain, ``"ignored"`` is no finding.
    """

    finding: str
    kind: Literal["term", "normal", "denied", "doubtful", "ignored"]


@cache
def terms() -> Phrases[Term]:
    """Return the phrases of all findings.

    Example:
        >>> from medvlp.text.phrases import tokens_of
        >>> [found.values[0].finding for found in terms().find(tokens_of("Pleural effusions and a hiatal hernia."))]
        ['effusion', 'hiatal_hernia']
    """
    entries = [
        (line, Term(finding.key, kind))
        for finding in findings().values()
        for kind in ("term", "normal", "denied", "doubtful")
        for line in (finding.terms if kind == "term" else getattr(finding, kind))
    ]
    return Phrases([*entries, *((line, Term("", "ignored")) for line in ignored())])


@cache
def word_class(name: str) -> frozenset[str]:
    """Return a class of words, see ``_lexicon/words.yaml``.

    Example:
        >>> "is" in word_class("verbs")
        True
    """
    return frozenset(load("words")[name].split())

"""Which findings a sentence names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from medvlp.text.ontology import findings
from medvlp.text.phrases import Phrases

__all__ = ["Term", "terms"]


@dataclass(frozen=True, slots=True)
class Term:
    """What a phrase of the lexicon says.

    Attributes:
        finding: key.
        kind: ``"term"`` names it, ``"normal"`` says that it is not there, ``"denied"`` says something of it only where it
            is denied.
    """

    finding: str
    kind: Literal["term", "normal", "denied"]


@cache
def terms() -> Phrases[Term]:
    """Return the phrases of all findings.

    Example:
        >>> from medvlp.text.phrases import tokens_of
        >>> [found.values[0].finding for found in terms().find(tokens_of("Pleural effusions and a hiatal hernia."))]
        ['effusion', 'hiatal_hernia']
    """
    entries: list[tuple[str, Term]] = []
    for finding in findings().values():
        entries += [(line, Term(finding.key, "term")) for line in finding.terms]
        entries += [(line, Term(finding.key, "normal")) for line in finding.normal]
        entries += [(line, Term(finding.key, "denied")) for line in finding.denied]
    return Phrases(entries)

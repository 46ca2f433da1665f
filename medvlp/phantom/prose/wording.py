"""What the prose of one finding consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medvlp.phantom.prose.form import Noun, SentenceForm

__all__ = ["Wording"]


@dataclass(frozen=True, slots=True)
class Wording:
    """All words for one finding.

    Attributes:
        name: one of `facts.FINDINGS`.
        anatomy: anatomy of the triplet where no lobe is named.
        grades: adjectives for each severity; empty for what is not graded.
        named: noun phrases for the frames of change, doubt and conclusion.
        denied: noun phrases for lists of what is absent.
        forms: present, absent and (where it may be doubted) uncertain forms.
    """

    name: str
    anatomy: str
    grades: Mapping[str, tuple[str, ...]]
    named: tuple[Noun, ...]
    denied: tuple[str, ...]
    forms: tuple[SentenceForm, ...]
